"""What a reader never sees is told from what is a click away."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.hidden import Hiding, is_hidden
from ray_app.ingest.page.styles import Way, declarations, way_of


def hides(body: str, selector: str = "#x", *, head: str = "") -> bool:
    """Whether the element is hidden on the page."""
    tree, _ = parse(f"<head>{head}</head><body>{body}")
    node = tree.css_first(selector)
    assert node is not None
    return Hiding.of(tree).hides(node, node.tag or "", node.attributes)


def by_rule(css: str, element: str, rest: str = "") -> bool:
    return hides(element + rest, "body > *", head=f"<style>{css}</style>")


TRICKS = [
    "opacity:0",
    "opacity: 0.01",
    "opacity:0%",
    "font-size:0",
    "FONT-SIZE: 0PX !important",
    "font-size:1px",
    "font-size:.05em",
    "font: 0/0 a",
    "position:absolute;left:-9999px",
    "position: absolute; top: -999em",
    "position:fixed;right:-5000px",
    "text-indent:-9999px",
    "text-indent:1000%;overflow:hidden",
    "margin-left:-10000px",
    "transform:translateX(-9999px)",
    "transform: scale(0)",
    "transform:rotate(5deg) scale( 0, 0 )",
    "scale:0",
    "clip-path:inset(50%)",
    "clip-path: circle(0)",
    "clip-path:polygon(0 0,0 0,0 0)",
    "position:absolute;clip:rect(0 0 0 0)",
    "position:absolute;clip:rect(1px, 1px, 1px, 1px)",
    "width:1px;height:1px;overflow:hidden",
    "max-width:0;max-height:0;overflow:hidden",
    "color:#fff;background:#fff",
    "color:white;background-color:#FFFFFF",
    "color:#fefefe;background:#fff",
    "color:rgb(255, 255, 255);background:white no-repeat",
    "background:#000;color:black",
    "color:transparent",
    "color:rgba(0,0,0,0)",
    "color:#12345600",
    "color:papayawhip;background:papayawhip",
    "-webkit-text-fill-color:transparent",
    "d\\69splay:none;opacity:0",
]
SHUT = [
    "display:none",
    "DISPLAY : NONE",
    "display:block;display:none",
    "display:none!important;display:block",
    "visibility:hidden",
    "visibility: collapse",
    "content-visibility:hidden",
    "height:0;overflow:hidden",
    "max-height:0px;overflow:hidden",
    "width:0;overflow:clip",
    "/* x */display:/* y */none",
    "dis\\play:none",
]
SEEN = [
    "",
    "display:block",
    "display:none;display:block",
    "opacity:0.9",
    "opacity:0;transform:translateY(20px)",  # fades in as it is scrolled to
    "opacity:0;transition:opacity 1s",
    "font-size:0.9em",
    "font-size:10px",
    "font:700 14px/1.5 serif",
    "height:0;padding-bottom:56.25%;overflow:hidden",  # a video's frame
    "height:0",
    "width:100%;height:100px;overflow:hidden",
    "left:-9999px",
    "position:absolute;left:-20px",
    "text-indent:-2em",
    "margin-left:-9999px;padding-left:9999px",  # as wide as the window
    "transform:scale(0.5)",
    "clip-path:inset(5%)",
    "clip:rect(0 0 0 0)",
    "color:#fff;background:#000",
    "color:#fff",
    "color:white;background:white url(dark.png)",
    "color:#fff;background:linear-gradient(#fff,#000)",
    "color:transparent;background-clip:text",
    "color:inherit;background:inherit",
    "color:rgba(0,0,0,0.8)",
    "color:#12;background:#12",
    "color:rgb(1);background:rgb(1)",
    f"color:rgb({'9' * 400},0,0);background:rgb(0,0,0)",
    "border-style:none",
    "overflow:hidden",
    ";;:;a:b:c",
]


class TestStyles:
    @pytest.mark.parametrize("style", TRICKS)
    def test_a_trick_hides(self, style: str) -> None:
        assert hides(f"<p id=x style='{style}'>a")
        assert is_hidden({"style": style})

    @pytest.mark.parametrize("style", SHUT)
    def test_what_is_shut_is_hidden(self, style: str) -> None:
        assert hides(f"<p id=x style='{style}'>a")
        assert way_of(declarations(style)) is Way.SHUT or "/*" in style

    @pytest.mark.parametrize("style", SEEN)
    def test_other_styles_hide_nothing(self, style: str) -> None:
        assert not hides(f"<p id=x style='{style}'>a")
        assert not is_hidden({"style": style})

    def test_no_size_around_text_that_has_one(self) -> None:
        assert not hides("<td id=x style='font-size:0'><div style='FONT-SIZE:14px'>a</div></td>", "[id=x], div")
        assert hides("<p id=x style='font-size:0'>a <b>c</b>")


class TestAttributes:
    @pytest.mark.parametrize(
        "attributes", ["hidden", "hidden=hidden", "aria-hidden=true", "ARIA-HIDDEN=TRUE", "popover", "class=sr-only"]
    )
    def test_that_hide(self, attributes: str) -> None:
        assert hides(f"<p id=x {attributes}>a")

    @pytest.mark.parametrize(
        "attributes", ["hidden=until-found", "aria-hidden=false", "aria-hidden", "class=hidden-gems"]
    )
    def test_that_do_not(self, attributes: str) -> None:
        assert not hides(f"<p id=x {attributes}>a")

    def test_a_closed_dialog_and_open_details(self) -> None:
        assert hides("<dialog id=x>a")
        assert hides("<dialog id=x class=y>a")
        assert not hides("<dialog id=x open>a")
        assert not hides("<details><summary>s</summary><p id=x>a</details>")
        assert not hides("<details id=x><p>a</details>")

    def test_a_page_that_hides_itself_is_shown_by_its_scripts(self) -> None:
        assert not hides("", "html", head="<style>.no-js{display:none}</style>")
        tree, _ = parse("<body style='visibility:hidden' class=x><p>a")
        assert tree.body is not None
        assert not Hiding.of(tree).hides(tree.body, "body", tree.body.attributes)


class TestWhatAPageOpens:
    @pytest.mark.parametrize(
        "page",
        [
            "<div id=x role=tabpanel hidden>a",
            "<div id=x class='tab-pane fade' style='display:none'>a",
            "<div id=x class=accordion-content hidden>a",
            "<div id=x class='faq-answer' style='display:none'>a",
            "<div id=x class='collapse' aria-hidden=true>a",
            "<div id=x class=faqAnswer style='height:0;overflow:hidden'>a",
            "<button aria-controls=x>More</button><div id=x hidden>a",
            "<a data-toggle=collapse data-target='#x'>More</a><div id=x style='display:none'>a",
            "<a data-bs-target='#x'>More</a><div id=x hidden>a",
            "<a href='#x'>More</a><div id=x style='display:none'>a",
            "<a onclick=\"toggle('x')\">More</a><div id=x style='display:none'>a",
            "<button popovertarget=x>?</button><div id=x popover>a",
        ],
    )
    def test_is_seen(self, page: str) -> None:
        assert not hides(page)

    @pytest.mark.parametrize(
        "page",
        [
            "<a href='#y'>More</a><div id=x style='display:none'>a",
            "<button aria-controls=x>Menu</button><div id=x class=mobile-menu hidden>a",
            "<a data-target='#x'>Buy</a><div id=x class='modal' style='display:none'>a",
            "<button aria-controls=search-box>Find</button><div id=search-box class=y hidden>a",
            "<script>show('x')</script><div id=x style='display:none'>a",
            "<a href='#x'>More</a><div id=x style='font-size:0'>a",
            "<div id=x class='accordion-content' style='opacity:0'>a",
            "<div id=x class='nav-collapse collapse' hidden>a",
        ],
    )
    def test_nothing_else_is(self, page: str) -> None:
        assert hides(page, "[hidden], [style]")


class TestRules:
    @pytest.mark.parametrize(
        ("css", "element"),
        [
            (".x{display:none}", "<p class=x>"),
            (".x, .y { display : none }", "<p class='a y'>"),
            ("#x{visibility:hidden}", "<p id=x>"),
            ("p.x{font-size:0}", "<p class=x>"),
            ("@media screen{.x{display:none}}", "<p class=x>"),
            ("@media only screen {.x{display:none}}", "<p class=x>"),
            ("@layer base{.x{display:none}}", "<p class=x>"),
            (".x{display:none} @media print{.x{display:block}}", "<p class=x>"),
            (".x{left:-9999px;position:absolute} .x:focus{left:0}", "<p class=x>"),
            ("/* .x{} */ .x{/* } */display:none}", "<p class=x>"),
            (".x{color:#fff;background:#fff}", "<p class=x>"),
            (".x{display:none} .x:hover{color:red}", "<p class=x>"),
            ("@import url(a.css); .x{display:none}", "<p class=x>"),
        ],
    )
    def test_of_the_page_hide(self, css: str, element: str) -> None:
        assert by_rule(css, element)

    @pytest.mark.parametrize(
        ("css", "element"),
        [
            (".x{display:none}", "<p class=xx>"),
            ("div.x{display:none}", "<p class=x>"),
            (".x p{display:none}", "<p class=x>"),
            (".tab-pane:not(.active){display:none}", "<p class=tab-pane>"),
            (".x{display:none} .x.active{display:block}", "<p class=x>"),
            (".x{display:none} .open > .x{display:block}", "<p class=x>"),
            (".x{display:none} #t:checked ~ .x{display:block}", "<p class=x>"),
            (".x{display:none} @media (min-width:600px){.x{display:block}}", "<p class=x>"),
            (".x{opacity:0} .x.seen{opacity:1}", "<p class=x>"),
            ("@media print{.x{display:none}}", "<p class=x>"),
            ("@media (max-width:600px){.x{display:none}}", "<p class=x>"),
            ("@media screen and (max-width:600px){.x{display:none}}", "<p class=x>"),
            ("@keyframes a{0%{opacity:0}}", "<p class=x>"),
            (".x:before{display:none}", "<p class=x>"),
            ("p{display:none}", "<p class=x>"),
            ("[data-x]{display:none}", "<p data-x>"),
            (".x{display:none", "<p class=x>"),
            (".answer{display:none}", "<p class=answer>"),
            (".x{opacity:0;transition:opacity 1s}", "<p class=x>"),
        ],
    )
    def test_that_do_not_hide(self, css: str, element: str) -> None:
        assert not by_rule(css, element)

    def test_a_script_that_names_the_class_may_show_it(self) -> None:
        assert not by_rule(".more{display:none}", "<p class=more>", "<script>$('.more').toggle()</script>")
        assert by_rule(".more{display:none}", "<p class=more>", "<script>more = 1</script>")
        assert by_rule(".mobile-menu{display:none}", "<p class=mobile-menu>", "<script>$('.mobile-menu')</script>")

    def test_pages_with_the_same_sheet_share_what_is_known_and_nothing_else(self) -> None:
        for _ in range(2):
            assert by_rule(".same{display:none}", "<p class='same a'>")
            assert not by_rule(".same{display:none}", "<p class='other'>")
        assert not by_rule(".different{display:none}", "<p class='same a'>")


class TestCost:
    @pytest.mark.parametrize(
        "css",
        [
            "{" * 100_000,
            "}" * 100_000,
            "a" * 100_000,
            ".a{" * 30_000,
            "/*" * 50_000,
            ".x{color:" * 11_000,
            "@media{" * 9_000,
            f"@layer{' ' * 20_000}(x{{{'.a{color:red}' * 1_000}",
        ],
    )
    def test_no_sheet_takes_long(self, css: str) -> None:
        started = time.perf_counter()
        by_rule(css, "<p class=x>")
        assert time.perf_counter() - started < 2

    def test_many_elements_take_next_to_nothing(self) -> None:
        tree, _ = parse("<body>" + "<span class='n k'>a</span><p id=a>b" * 10_000)
        nodes = [(node, node.tag or "", node.attributes) for node in tree.css("body *")]
        started = time.perf_counter()
        judge = Hiding.of(tree)
        assert not any(judge.hides(*node) for node in nodes)
        assert time.perf_counter() - started < 0.5

    @pytest.mark.parametrize(
        "style", [":" * 50_000, ";" * 50_000, "color:#" * 9_000, "transform:scale(" * 5_000, "\\" * 9_000]
    )
    def test_no_style_takes_long(self, style: str) -> None:
        started = time.perf_counter()
        is_hidden({"style": style})
        assert time.perf_counter() - started < 1
