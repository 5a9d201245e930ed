"""Which elements of a page are read."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.extract_html import NORMALLY, extract
from ray_app.ingest.page.content import Rules, check_selector
from ray_app.records import Extracted

SENTENCE = "The fan turns faster when the room is warmer than the set value, and stops at night. "


def run(page: str, rules: Rules = NORMALLY) -> Extracted:
    url = "https://help.example.com/docs/page.html"
    return extract(page.encode(), brand="b", url=url, charset="", fetched_at=0.0, rules=rules)


def text(page: str, rules: Rules = NORMALLY) -> str:
    document = run(page, rules).document
    return "\n\n".join(section.text for section in document.sections) if document is not None else ""


class TestRules:
    PAGE = "<div id=a>Banner</div><main><p>Main</p></main><div class=help><h2>T</h2><p>Help <b>now</b></p></div>"

    def test_content_is_what_the_selectors_find(self) -> None:
        assert text(self.PAGE, Rules(content=(".help",))) == "Help now"
        assert text(self.PAGE, Rules(content=(".help p", "main", "p"))) == "Help now\n\nMain"

    def test_a_page_without_it_is_read_in_the_normal_way(self) -> None:
        assert text(self.PAGE, Rules(content=(".manual",))) == "Main"
        assert text("<div class=manual> </div><p>Words", Rules(content=(".manual",))) == "Words"

    def test_what_is_removed_is_not_read_but_its_links_are_followed(self) -> None:
        page = "<main><p>Keep</p><ul class=see><li><a href=/x>See</a></ul><p><b>Drop</b></p></main>"
        found = run(page, Rules(remove=(".see", "p > b")))
        assert found.document is not None
        assert [section.text for section in found.document.sections] == ["Keep"]
        assert found.links == ("https://help.example.com/x",)

    def test_removal_holds_in_every_way_of_reading(self) -> None:
        rules = Rules(remove=("i",))
        article = "<meta property=og:type content=article><article>"
        for frame in ("<main>", "<div>", article, "<body><header>"):
            found = text(f"{frame}<p>{SENTENCE * 8} <i>gone</i></p>", rules)
            assert "warmer" in found
            assert "gone" not in found

    def test_what_lies_within_the_removed_is_not_chosen(self) -> None:
        page = "<div class=old><main><p>Old words</p></main></div><p>New words</p>"
        assert text(page, Rules(remove=(".old",))) == "New words"
        assert text(page, Rules(remove=("main",), content=("main",))) == "New words"

    @pytest.mark.parametrize(
        "hiding", ["style='position:absolute;left:-9999px'", "hidden", "class=sr-only", "aria-hidden=true"]
    )
    def test_what_nobody_sees_is_not_chosen(self, hiding: str) -> None:
        within = f"<div {hiding}><div><main data-a><p>secret</p></main></div></div><p>Visible</p>"
        itself = f"<section data-a {hiding}><p>secret</p></section><p>Visible</p>"
        for page in (within, itself):
            assert text(page) == "Visible"
            assert text(page, Rules(content=("[data-a]",))) == "Visible"

    def test_many_candidates_deep_down_are_judged_in_time(self) -> None:
        page = "<section><div>" * 100 + "<i class=a>x</i> " * 5_000 + "<p>end"
        started = time.process_time()
        assert text(page, Rules(content=(".a",))).count("x") == 1_000
        assert time.process_time() - started < 2.0

    def test_what_is_chosen_keeps_its_structure(self) -> None:
        page = """<h1 id=t>Fan</h1><p>Buy it</p><h2 class=h>Data</h2><table class=specs id=s><tr><td>Power<td>40 W
            <tr><td>Air<td>90 l</table><pre class=code>a\n  b</pre><ol class=steps><li>One<li>Two</ol>"""
        found = run(page, Rules(content=("h1", ".h", "table.specs", ".code", ".steps"))).document
        assert found is not None
        assert [(section.path, section.anchor, section.text) for section in found.sections] == [
            (
                ("Fan", "Data"),
                "",
                "|  |  |\n|-|-|\n| Power | 40 W |\n| Air | 90 l |\n\n```\na\n  b\n```\n\n1. One\n2. Two",
            )
        ]

    def test_what_is_chosen_may_look_like_frame(self) -> None:
        for part in (
            "<footer class=a>Words</footer>",
            "<div class='a pagination'>Words</div>",
            "<nav class=a>Words</nav>",
        ):
            assert text(f"{part}<p>Other", Rules(content=(".a",))) == "Words"

    def test_nothing_left_is_empty(self) -> None:
        assert run("<p>a</p>", Rules(remove=("body *",))).reason == "empty"


class TestSelectors:
    @pytest.mark.parametrize("selector", ["p", "#a .b > c, [role=main]", "p:not(.b):nth-child(2)", "div:has(> p)"])
    def test_usable(self, selector: str) -> None:
        check_selector(selector)

    @pytest.mark.parametrize(
        "selector", ["", "  ", "p >", "div[", "a:nonsense", "p,", "x{}", "((", "p\x00", "a" * 2_000, "<p>", "%s{0}"]
    )
    def test_unusable(self, selector: str) -> None:
        with pytest.raises(ValueError, match="selector"):
            check_selector(selector)


class TestProse:
    """Pages without landmark, article or documentation signs."""

    FRAME = (
        "<div><a href=/1>Fans</a> <a href=/2>Heaters</a> <a href=/3>Filters</a> <a href=/4>All our products</a></div>"
    )

    def test_lists_of_links_around_sentences_are_frame(self) -> None:
        page = f"{self.FRAME}<div><h1 id=t>Fan</h1><p>{SENTENCE * 8}</p><a href=#t>Up</a></div>{self.FRAME}"
        assert "Heaters" not in text(page)
        assert text(page).startswith("The fan turns")

    def test_the_main_heading_stays(self) -> None:
        page = f"<div><h1 id=t>Fan</h1></div>{self.FRAME}<div><h2 id=u>Use</h2><p>{SENTENCE * 8}</p></div>"
        document = run(page).document
        assert document is not None
        assert [(section.path, section.anchor) for section in document.sections] == [(("Fan", "Use"), "#u")]

    def test_a_page_that_is_a_list_stays_one(self) -> None:
        rows = "".join(f"<li><a href=/{i}>Model {i}</a> Manual</li>" for i in range(60))
        assert "Model 59" in text(f"<div><ul>{rows}</ul></div><p>{SENTENCE * 7}</p>")

    def test_a_named_body_counts_beside_a_landmark_when_there_is_prose(self) -> None:
        cards = "".join(
            f"<div class=card><h3><a href=/{i}>Model {i}</a></h3><p>A fan for a room.</p></div>" for i in "abc"
        )
        body = f"<div class=entry-content><h1>Fan</h1><p>{SENTENCE * 8}</p></div>"
        assert "for a room" not in text(f"<main>{body}{cards}</main>")
        assert "for a room" in text(f"<main><div class=entry-content><p>Choose one of these.</p>{cards}</div></main>")

    def test_documentation_is_read_whole(self) -> None:
        made = "<meta name=generator content='AsciiDoc 9'>"
        page = f"{made}{self.FRAME}<div><h1>Fan</h1><p>{SENTENCE * 8}</p></div>"
        assert "Heaters" in text(page)
