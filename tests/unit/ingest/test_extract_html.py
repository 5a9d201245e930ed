"""Pages as they are in the wild, to sections, anchors, Markdown and links."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.extract_html import NORMALLY, extract
from ray_app.ingest.fingerprint import content_hash
from ray_app.ingest.page.content import Rules
from ray_app.records import Document, Extracted, Section

URL = "https://help.example.com/docs/page.html"


def run(body: str | bytes, charset: str = "", rules: Rules = NORMALLY) -> Extracted:
    raw = body.encode() if isinstance(body, str) else body
    return extract(raw, brand="b", url=URL, charset=charset, fetched_at=5.0, rules=rules)


def document(body: str | bytes, charset: str = "") -> Document:
    found = run(body, charset).document
    assert found is not None
    return found


def text(body: str | bytes, charset: str = "") -> str:
    return "\n\n".join(section.text for section in document(body, charset).sections)


def outline(body: str) -> list[tuple[tuple[str, ...], str, str]]:
    return [(section.path, section.anchor, section.text) for section in document(body).sections]


@pytest.mark.parametrize("body", [b"\x00\x01\x02", b"\xed\xa0\x80", b"\xff\xfe\x00", bytes(range(256)) * 9])
def test_any_bytes_give_storable_text(body: bytes) -> None:
    found = run(body)
    for section in found.document.sections if found.document else ():
        section.text.encode()


class TestMainContent:
    def test_the_landmark_is_the_page(self) -> None:
        page = (
            "<nav>Menu</nav><div>Banner</div><main><h1>Reset</h1><p>Hold the button.</p></main><footer>Legal</footer>"
        )
        assert text(page) == "Hold the button."

    def test_without_landmark_the_frame_is_left_out(self) -> None:
        page = """<body><header>Shop</header><ul class="breadcrumbs"><li>Home</ul><p>Hold the button.</p>
            <aside>Ads</aside><div role=navigation>Menu</div><div id=cookie-banner>Accept?</div><script>var x</script>
            <noscript>Enable it</noscript><form><label>Mail</label><button>Go</button>Kept</form>
            <footer>Legal</footer>"""
        assert text(page) == "Hold the button.\n\nKept"

    @pytest.mark.parametrize(
        "chapter",
        [
            "<section id=pagination><h2>Pagination</h2><p>Pages of ten.</p></section>",
            "<div id=cookie-consent><h2>Cookie consent<a href=#x>\u00b6</a></h2><p>Pages of ten.</p></div>",
            "<h2 id=permalink>Pagination</h2><p>Pages of ten.</p>",
            "<a id=footer></a><h2>Pagination</h2><p>Pages of ten.</p>",
        ],
    )
    def test_a_chapter_about_a_part_of_the_frame_is_none(self, chapter: str) -> None:
        assert text(f"<main><p>One.</p>{chapter}</main>") == "One.\n\nPages of ten."

    def test_a_landmark_with_little_of_the_text_is_not_believed(self) -> None:
        page = f"<main>Loading</main><div><p>{'The manual says a lot. ' * 40}</p></div>"
        assert "The manual says" in text(page)

    def test_header_and_aside_within_the_article_belong_to_it(self) -> None:
        page = (
            "<article><header><h1>Fan</h1></header><p>Text</p><aside>Note: hot.</aside><footer>By me</footer></article>"
        )
        assert outline(page) == [(("Fan",), "", "Text\n\nNote: hot.")]

    def test_what_stands_beside_the_article_in_main_is_kept(self) -> None:
        body = f"<main><article><h1>Reset</h1><p>{'Long text. ' * 40}</p></article><p>Also for the PL-61.</p></main>"
        assert "Also for the PL-61." in text(body)

    def test_hidden_text_is_not_indexed(self) -> None:
        page = """<p>Seen<p hidden>a<p style="display: none">b<p aria-hidden=true>c<p style="visibility:hidden">d
            <span style="font-size:0">e</span><p hidden=until-found>Found<p style="font-size:0.9em">Small"""
        assert text(page) == "Seen\n\nFound\n\nSmall"

    def test_invisible_characters_are_removed_and_meaningful_joiners_stay(self) -> None:
        assert text("<p>re\u200bset\U000e0041 \u202eabc\u00ad e\u0301</p>") == "reset abc é"
        assert text("<p>می\u200cخواهم</p>") == "می\u200cخواهم"
        assert text("<p>re\u200dset</p>") == "reset"

    def test_a_line_of_links_and_signs_is_navigation(self) -> None:
        pager = "<p><a href=a>Prev</a> | <a href=b>Up</a> | <a href=c>Next</a></p>"
        assert text(f"{pager}<p><a href=a>One</a>, <a href=b>two</a></p>") == "One, two"

    def test_contents_of_this_page_are_left_out_and_those_of_others_kept(self) -> None:
        inner = "<div class=toc><a href='page.html#a'>A</a></div><p>Text"
        outer = "<div class=toc><a href='other.html'>Other</a></div><p>Text"
        assert text(inner) == "Text"
        assert text(outer) == "Other\n\nText"

    def test_a_list_of_links_to_parts_of_this_page_needs_no_name(self) -> None:
        links = "".join(f"<li><a href='{{page}}#s{i}'>Part {i}</a>" for i in range(4))
        page = (
            f"<ul>{links}</ul><p>Text <ul><li>See <a href=#s1>Part 1</a> and <a href=#s2>2</a>, <a href=#s3>3</a></ul>"
        )
        assert text(page.format(page="page.html")) == "Text\n\n- See Part 1 and 2, 3"
        assert text(page.format(page="other.html")).startswith("- Part 0\n- Part 1")

    def test_when_all_lies_in_the_frame_the_second_judge_decides(self) -> None:
        page = f"<body><header><div><p>{'Charge the battery before first use. ' * 12}</p></div></header>"
        assert "Charge the battery" in text(page)

    def test_a_page_without_words_is_empty(self) -> None:
        found = run("<body><div>--</div><noscript>Turn on JavaScript</noscript><a href=/x></a>")
        assert (found.reason, found.document, found.links) == ("empty", None, ("https://help.example.com/x",))

    def test_a_banner_that_repeats_the_title_is_no_section(self) -> None:
        page = "<title>Fan | Acme Help</title><div>Acme Help</div><h1>Fan</h1><p>Text"
        assert outline(page) == [(("Fan",), "", "Text")]


class TestSections:
    @pytest.mark.parametrize(
        ("page", "expected"),
        [
            (
                "<h1>A</h1><h2 id=n>Not for PL-61</h2><h2>B</h2><p>text</p>",
                [(("A",), "#n", "Not for PL-61"), (("A", "B"), "#n", "text")],
            ),
            (
                "<h1>A</h1><p>a</p><h2>No</h2><h3>Not</h3><h2>B</h2>b",
                [(("A",), "", "a\n\nNo\n\nNot"), (("A", "B"), "", "b")],
            ),
            ("<h1>Fans</h1><h3>PL-61</h3><h3>PL-62</h3><h3>PL-63</h3>", [(("Fans",), "", "PL-61\n\nPL-62\n\nPL-63")]),
            (
                "<h1>A</h1><h2>B</h2><p>b</p><h3>No</h3><h2>C</h2><p>c</p>",
                [(("A", "B"), "", "b\n\nNo"), (("A", "C"), "", "c")],
            ),
            ("<h3>PL-61</h3><h3>PL-62</h3><p>b</p>", [(("PL-62",), "", "b")]),
            ("<h3>PL-61</h3><h3>PL-62</h3><h3>X</h3><p>b</p>", [((), "", "PL-61\n\nPL-62"), (("X",), "", "b")]),
        ],
    )
    def test_a_bare_heading_is_told_under_the_one_above(
        self, page: str, expected: list[tuple[tuple[str, ...], str, str]]
    ) -> None:
        assert outline(page) == expected

    @pytest.mark.parametrize(
        "page",
        [
            "<h1>Shop</h1><h1>A</h1><p>a</p>",
            "<h1>A</h1><h2>B</h2><h2>B</h2><p>a</p>",
            f"<h1>A</h1><h2>Topics</h2><ul>{'<li><a href=#b>First part</a>' * 3}</ul><h2>B</h2>a",
            "<h1>A</h1><h2>Menu</h2><nav>Home</nav><h2>B</h2><p>a</p>",
            "<h1>A</h1><h2>On this page</h2><div class=toc><a href=#b>B</a></div><h2>B</h2><p>a</p>",
            "<h1>A</h1><p>a</p><h1>Comments</h1>",
        ],
        ids=["site", "twice", "contents", "menu", "named contents", "last"],
    )
    def test_a_heading_of_nothing_is_not_told(self, page: str) -> None:
        assert text(page) == "a"

    def test_path_is_the_stack_of_headings(self) -> None:
        page = "<p>Top<h1>A</h1>a<h3 id=c>C</h3>c<h2 id=b>B</h2>b<h1>D</h1>"
        assert outline(page) == [
            ((), "", "Top"),
            (("A",), "", "a"),
            (("A", "C"), "#c", "c"),
            (("A", "B"), "#b", "b"),
        ]

    @pytest.mark.parametrize(
        "heading",
        [
            "<h2 id=x>T</h2>",
            "<h2 class=title><a id=x></a>T</h2>",
            "<h2>T<a name=x class=headerlink2></a></h2>",
            "<div class=refsect1><a name=x></a><h2>T</h2></div>",
            "<section id=x><h2>T</h2></section>",
            "<a name=x><h2>T</h2></a>",
            "<div id=outer><div id=x><a class=indexterm name=y></a><h2>T</h2></div></div>",
            "<span id=x></span>\n<h2>T <a class=headerlink href='#x'>¶</a></h2>",
            "<div class=header id=x>T</div>",
            "<div role=heading aria-level=2 id=x>T</div>",
        ],
    )
    def test_anchor_of_a_heading(self, heading: str) -> None:
        assert outline(f"<p id=early>Before</p>{heading}<p>After") == [((), "", "Before"), (("T",), "#x", "After")]

    def test_without_own_anchor_the_nearest_above_opens(self) -> None:
        page = "<h2 id=a>A</h2><p id=b>b</p><h2>C</h2>c"
        assert [anchor for _, anchor, _ in outline(page)] == ["#a", "#b"]

    def test_an_id_before_all_text_is_the_top_of_the_page(self) -> None:
        page = "<div id=wrapper><h1>Manual</h1><h2>Name</h2>n<h2 id=use>Use</h2>u</div>"
        assert outline(page) == [(("Manual", "Name"), "", "n"), (("Manual", "Use"), "#use", "u")]

    def test_anchors_are_valid_in_a_url(self) -> None:
        assert outline("<h2 id='naïve<x>'>A</h2>a")[0][1] == "#na%C3%AFve%3Cx%3E"

    def test_long_text_without_headings_is_split_at_named_anchors(self) -> None:
        entries = "".join(f"<dt id=o{i}>option{i}<dd>{'word ' * 120}" for i in range(9))
        found = outline(f"<h2 id=opts>Options</h2><dl>{entries}</dl>")
        assert [anchor for _, anchor, _ in found] == ["#opts", "#o3", "#o6"]
        assert {path for path, _, _ in found} == {("Options",)}
        assert found[1][2].startswith("option3\n: word word")

    def test_anchors_of_hand_written_code_headings_split_too(self) -> None:
        entries = "".join(f"<pre><em class=def id=f{i}>fn{i}</em> x</pre><p>{'word ' * 200}</p>" for i in range(4))
        found = outline(entries)
        assert [anchor for _, anchor, _ in found] == ["", "#f2"]
        assert found[1][2].startswith("```\nfn2 x\n```\n\nword")

    def test_an_unclosed_heading_does_not_swallow_the_page(self) -> None:
        assert "word" in text(f"<h2>Title<p>{'word ' * 400}<table><tr><td>a<td>b</table>")

    def test_block_elements_within_a_heading(self) -> None:
        assert outline("<h2><div>One</div><p>two<br>three</h2>x")[0][0] == ("One two three",)


class TestMarkdown:
    def test_inline(self) -> None:
        page = "<p>Run  <code>a <b>b</b></code> and <em>wait</em>\n<kbd>x`y</kbd><br>Then <a href=x>go</a>.</p>"
        assert text(page) == "Run `a b` and wait `` x`y ``\nThen go."

    def test_lists(self) -> None:
        page = "<p>Do:<ol start=3><li>One<li><p>Two</p><p>more</p><ul><li>deep</ul><li><pre>x\n\ny</pre></ol><p>End"
        lines = ["3. One", "4. Two", "  more", "  - deep", "  ```", "  x", "", "  y", "  ```"]
        assert text(page) == "Do:\n\n" + "\n".join(lines) + "\n\nEnd"

    def test_definitions(self) -> None:
        page = "<dl><dt>-a<dt>--all<dd><p>Everything.</p><p>Really.</p><dt>-b<dd>Little.</dl>"
        assert text(page) == "-a\n--all\n: Everything.\n\nReally.\n\n-b\n: Little."

    def test_code_keeps_its_white_space(self) -> None:
        page = "<pre class=x>\nif a:\n\tb  <span>= 1</span>\n\n\n</pre><pre>a ``` b</pre><pre> </pre>"
        assert text(page) == "```\nif a:\n    b  = 1\n```\n\n````\na ``` b\n````"

    def test_tables(self) -> None:
        page = """<table><caption>Codes</caption><thead><tr><th>Code<th>Meaning</thead>
            <tr><td rowspan=2>E1<td>a|b<tr><td><b>hot</b>  <tr><td colspan=2>all</table>"""
        rows = ["| Code | Meaning |", "|-|-|", "| E1 | a\\|b |", "| E1 | hot |", "| all |  |"]
        assert text(page) == "Codes\n\n" + "\n".join(rows)

    def test_a_table_without_header_has_an_empty_one(self) -> None:
        assert text("<table><tr><th>Mass<td>2 kg<tr><th>Size<td>3 cm</table>").startswith(
            "|  |  |\n|-|-|\n| Mass | 2 kg |"
        )

    @pytest.mark.parametrize(
        "page",
        [
            "<table><tr><td><h2>T</h2><p>a</p><td><p>b</p><tr><td>c<td>d</table>",
            "<table><tr><td>a<tr><td>b</table>",
            "<table role=presentation><tr><td>a<td>b<tr><td>c<td>d</table>",
            "<table><tr><td><table><tr><td>a<td>b</table><td>c<tr><td>d<td>e</table>",
            "<table><tr><td rowspan=2><img src=note.png><th>a<tr><td>b</table>",
        ],
    )
    def test_layout_tables_are_paragraphs(self, page: str) -> None:
        assert "|" not in text(page)
        assert text(page).startswith("a\n\nb")

    def test_lists_within_cells_stay_in_their_row(self) -> None:
        page = """<table><tr><th>Fault<th>Remedy<tr><td>No power<td>Do:<ol><li>Check the plug<li>Reset</ol>
            <tr><td>Hot<td><ul><li>Clean<li>Wait<ul><li>an hour</ul></ul><tr><td>Code<td><pre>E-7</pre></table>"""
        rows = [
            "| Fault | Remedy |",
            "|-|-|",
            "| No power | Do: 1. Check the plug 2. Reset |",
            "| Hot | • Clean • Wait • an hour |",
            "| Code | `E-7` |",
        ]
        assert text(page) == "\n".join(rows)

    def test_a_table_in_a_cell_of_a_headed_table_stays_in_its_row(self) -> None:
        page = """<table><tr><th>Key<th>Meaning
            <tr><td>t<td>Time: <table><tr><td>s<td>seconds<tr><td>m<td>minutes</table><tr><td>u<td>User</table>"""
        assert text(page).split("\n")[2:] == ["| t | Time: • s seconds • m minutes |", "| u | User |"]

    def test_a_table_without_header_but_with_lists_is_data_when_its_rows_are_alike(self) -> None:
        rows = "".join(f"<tr><td>Fault {i}<td><ul><li>Fix {i}</ul>" for i in range(3))
        assert text(f"<table>{rows}</table>").endswith("| Fault 2 | • Fix 2 |")
        assert "|" not in text(f"<table>{rows}<tr><td>{'menu ' * 200}<td>x</table>")

    def test_lists_go_on_after_a_table_in_an_item(self) -> None:
        page = "<ol><li>One<table><tr><th>A<th>B<tr><td>1<td><ul><li>x</ul></table><li>Two</ol>"
        assert text(page) == "1. One\n  | A | B |\n  |-|-|\n  | 1 | • x |\n2. Two"

    def test_cells_beyond_the_widest_table_are_not_lost(self) -> None:
        row = "".join(f"<td>c{i}" for i in range(70))
        assert "c69" in text(f"<table><tr>{row}<tr>{row}</table>")

    @pytest.mark.parametrize(
        "box",
        [
            "<div class='admonition note'><p class=admonition-title>Note</p><p>Hot.</p></div>",
            "<div class=note><h3 class=title>Note</h3><p>Hot.</p></div>",
            "<aside class='callout'><h4>Note:</h4>Hot.</aside>",
            "<div class=admonitionblock><table><tr><td class=icon><div class=title>Note</div><td>Hot.</table></div>",
            "<div class=note><table><tr><td rowspan=2><img src=note.png><th>Note<tr><td>Hot.</table></div>",
        ],
    )
    def test_a_note_keeps_its_name_and_makes_no_section(self, box: str) -> None:
        page = f"<main><h2 id=a>Use</h2><p>Press.</p>{box}<p>Wait.</p></main>"
        assert outline(page) == [(("Use",), "#a", "Press.\n\nNote:\nHot.\n\nWait.")]

    def test_a_part_of_the_page_that_is_called_note_is_no_note(self) -> None:
        page = f"<div class=note><h2 id=a>One</h2><p>{'word ' * 900}</p><h2 id=b>Two</h2>two</div>"
        assert [path for path, _, _ in outline(page)] == [("One",), ("Two",)]

    def test_nested_lists_with_paragraphs_and_code(self) -> None:
        page = """<ul><li><p>Open</p><ul><li>the lid<li>the box<pre>cfg = <span>1</span>\n<i>x</i></pre></ul>
            <li>Close</ul><dl><dt>Lamp<dd><ul><li>red<li>green</ul><dt>Key<dd>power</dl>"""
        lines = ["- Open", "  - the lid", "  - the box", "    ```", "    cfg = 1", "    x", "    ```", "- Close"]
        assert text(page).startswith("\n".join(lines))
        assert text(page).endswith("Lamp\n\n- red\n- green\n\nKey\n: power")


class TestHead:
    def test_title_and_language(self) -> None:
        found = document("<html lang='en-GB'><title> Fan\n X100 </title><h1>Other</h1>a")
        assert (found.title, found.lang, found.kind, found.url, found.fetched_at) == (
            "Fan X100",
            "en",
            "html",
            URL,
            5.0,
        )
        assert document("<h1>Other</h1>a").title == "Other"
        assert document("<html xml:lang=DE><p>a").lang == "de"
        assert document("<html lang='javascript:'><p>a").lang == ""

    def test_the_brand_says_the_language_of_pages_that_do_not(self) -> None:
        rules = Rules(lang="fr")
        found = [run(page, rules=rules).document for page in ("<p>a", "<html lang=de><p>a")]
        assert [one.lang if one else "" for one in found] == ["fr", "de"]

    def test_links_are_capped(self) -> None:
        page = "".join(f"<a href=/{i}>x</a>" for i in range(50))
        assert len(run(page, rules=Rules(max_links=7)).links) == 7

    def test_a_canonical_address_is_handed_on_wherever_it_leads(self) -> None:
        page = "<link rel=canonical href={}><p>a"
        assert run(page.format("/docs/clean")).canonical == "https://help.example.com/docs/clean"
        assert run(page.format("https://elsewhere.com/")).canonical == "https://elsewhere.com/"
        assert run(page.format("file:///usr/share/doc/x.html")).canonical == ""

    def test_noindex_keeps_links_unless_nofollow(self) -> None:
        page = "<meta name=ROBOTS content='NOINDEX, {}'><p>a<a href=/x>x</a>"
        followed, alone = run(page.format("follow")), run(page.format("nofollow"))
        assert (followed.reason, followed.document, len(followed.links)) == ("noindex", None, 1)
        assert (alone.reason, alone.links) == ("noindex", ())
        assert run("<meta name=robots content=nofollow><p>a<a href=/x>x</a>").links == ()


class TestHostilePages:
    @pytest.mark.parametrize(
        "page",
        [
            "<div>" * 100_000 + "hello",
            "<blockquote><b>" * 20_000 + "hello",
            "".join(f"<x-{i}>" for i in range(20_000)) + "hello",
            "<ul><li>" * 10_000 + "hello",
            "<table><tr><td>" * 10_000 + "hello",
            "<div " + " ".join(f"a{i}=1" for i in range(50_000)) + ">hello",
            "<p>" + "".join(f"<b id=b{i}>" for i in range(2_000)) + "hello</p>" + "<p>x</p>" * 3_000,
            "hello<!--" + "<a" * 500_000,
            "hello" + "<div " * 500_000 + ">",
            "hello" + "<path </path " * 50_000,
            "hello</div " + " ".join(f"a{i}=1" for i in range(300_000)),
            "hello" + f"<{'a' * 40_000} " * 30,
            "<rt>" * 50_000 + "hello",
            "<optgroup>" * 50_000 + "hello",
            "<svg><p>" + "<foo/>" * 50_000 + "hello",
        ],
        ids=[
            *("divs", "quotes", "unknown", "lists", "tables", "attributes", "formatting", "unclosed"),
            *("no end", "no end of a shape", "end tag", "names", "ruby", "groups", "not closed by itself"),
        ],
    )
    def test_time_does_not_grow_with_depth(self, page: str) -> None:
        started = time.process_time()
        assert "hello" in text(page)
        assert time.process_time() - started < 2.0  # tens of seconds when the tree is built as written

    def test_cut_pages_say_so(self) -> None:
        assert run("<div>" * 5_000 + "hello").detail
        assert not run("<div>hello</div>" * 5_000).detail

    ICON = "<svg viewBox='0 0 9 9'><g><path d='M0 0'/><circle r=1 /></g></svg>"
    CARD = r'<script type=application/json>{"html": "<div><x-card><h2>Fan<\/h2><\/x-card><\/div>"}</script>'

    @pytest.mark.parametrize("part", [ICON, CARD, "<ruby>a<rt>b</ruby>"], ids=["icon", "script", "ruby"])
    def test_what_only_looks_open_cuts_nothing(self, part: str) -> None:
        page = part * 600 + "<p>See <x-tip hidden>secret</x-tip><dfn id=here>that</dfn></p><div hidden>secret</div>"
        found = run(f"<h1>T</h1>{page}<h2>Use</h2><p>Turn it.")
        assert found.document is not None
        assert (found.document.sections[-1].anchor, found.detail) == ("#here", "")
        assert not any("secret" in section.text for section in found.document.sections)

    def test_a_script_that_an_attribute_speaks_of_begins_none(self) -> None:
        page = f"<meta name=description content='The <script> tag'>{'<p>a</p>' * 2_000}<h2 id=x>Use</h2><p>b"
        assert document(f"{page}<script></script>").sections[-1].anchor == "#x"

    def test_data_about_the_page_stays_readable_in_long_pages(self) -> None:
        data = '{"@type": "Product", "name": "Fan X100", "model": "X100", "description": "<p>Good</p>"}'
        page = f"<script type=application/ld+json>{data}</script><h1>Fan</h1><p>Turn it.{'<p>a</p>' * 2_000}"
        assert "X100" in document(page).facts.models

    def test_one_huge_attribute_costs_nothing(self) -> None:
        page = f"<div class='{'x ' * 5_000_000}'><p>hello</p></div>"
        started = time.process_time()
        found = run(page)
        assert found.document is not None
        assert (found.document.sections[0].text, bool(found.detail)) == ("hello", True)
        assert time.process_time() - started < 2.0  # a tenth of a second

    @pytest.mark.parametrize(
        "unit", ["<p>word word word</p>", "<li><a href=/x>word</a>", "<tr><td>a<td>b", "a word <b>"]
    )
    def test_large_pages_are_read_in_time(self, unit: str) -> None:
        page = "<meta property=og:type content=article><table>" + unit * (1_000_000 // len(unit))
        started = time.process_time()
        assert run(page).document is not None
        assert time.process_time() - started < 10.0  # one to two seconds

    def test_what_a_page_says_stays_text(self) -> None:
        said = "{0} %s ${HOME} {{x}} &lt;script&gt; he\x00llo \\N{BULLET}"
        found = document(f"<title>{said}</title><h2>{said}</h2><p>{said}".encode() + b" \xed\xa0\x80")
        expected = "{0} %s ${HOME} {{x}} <script> hello \\N{BULLET}"
        assert found.title.replace("\ufffd", "") == expected
        assert found.sections[0].path[0].replace("\ufffd", "").replace("he llo", "hello") == expected
        found.sections[0].text.encode()

    def test_long_cells_that_span_rows_are_told_once(self) -> None:
        table = f"<table><tr><td rowspan=3>{'long ' * 50}<td rowspan=3>short<td>a<tr><td>b<tr><td>c</table>"
        assert text(table).split("\n")[3:] == ["|  | short | b |", "|  | short | c |"]

    def test_cells_that_span_rows_do_not_swell_the_page(self) -> None:
        cells = f"<td rowspan=999>{'long ' * 30}" * 60
        assert len(text(f"<table><tr>{cells}{'<tr>' * 150}</table>" * 3)) < 1_200_000

    def test_many_ids_in_code_are_noted_in_time(self) -> None:
        code = "".join(f"<span id=i{i}>word</span>\n" for i in range(50_000))
        started = time.process_time()
        assert "word" in text(f"<p>{'word ' * 1_000}</p><pre>Start {code}</pre>")
        assert time.process_time() - started < 3.0  # half a second

    def test_spans_of_cells_are_bounded(self) -> None:
        cells = "<td rowspan=99999 colspan=99999>abc" * 20
        assert len(text(f"<table><tr>{cells}<tr><td>x<tr><td>y</table>")) < 20_000


def test_content_hash_covers_every_part() -> None:
    sections = [Section(("A",), "#a", "x")]
    variants = [
        ("t", sections),
        ("u", sections),
        ("t", [Section(("B",), "#a", "x")]),
        ("t", [Section(("A",), "#b", "x")]),
        ("t", [Section(("A",), "#a", "y")]),
        ("t", [Section((), "A", "#ax")]),
    ]
    hashes = [content_hash(title, parts) for title, parts in variants]
    assert len(set(hashes)) == len(variants)
    assert all(len(value) == 32 for value in hashes)
    assert content_hash("t", list(sections)) == hashes[0]


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("<a href=/x><strong>Cantata PL-61</strong><span>61 keys</span></a>", "Cantata PL-61 61 keys"),
        ("<b>Part</b>ly <i>un</i>done", "Partly undone"),
        ("H<sub>2</sub>O and <b>10</b><sup>6</sup>", "H2O and 106"),
        ("<span>os.</span><span>path</span><span>(</span><span>x</span><span>)</span>", "os.path(x)"),
        ("<code><span>foo</span><span>bar</span></code>", "`foobar`"),
        ("<span>one</span><span></span><span>two</span>", "one two"),
    ],
)
def test_elements_side_by_side_are_words_of_their_own(markup: str, expected: str) -> None:
    assert text(f"<main><p>{markup}</p></main>") == expected
