"""Images and PDFs that a page shows or links to."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.extract_html import extract
from ray_app.ingest.page.media import MAX_MEDIA
from ray_app.records import Facts, Media

SITE = "https://help.example.com/"


def facts(body: str) -> Facts:
    page = f"<main>{body}<p>Some words.</p></main>"
    found = extract(page.encode(), brand="b", url=f"{SITE}docs/page.html", charset="", fetched_at=0.0).document
    assert found is not None
    return found.facts


def images(body: str) -> list[tuple[str, str]]:
    return [(media.url.removeprefix(SITE), media.text) for media in facts(body).images]


class TestImages:
    def test_stand_in_a_section(self) -> None:
        page = "<h2 id=reset>Reset</h2><p>Press <img src='/i/back.jpg' alt=' The  back '> it.</p><img src=b.png>"
        assert facts(page).images == (
            Media(f"{SITE}i/back.jpg", "The back", "#reset"),
            Media(f"{SITE}docs/b.png", "", "#reset"),
        )

    @pytest.mark.parametrize(
        ("page", "text"),
        [
            ("<figure><img src=a.png><figcaption>Fig. 1: the <b>lid</b></figcaption></figure>", "Fig. 1: the lid"),
            ("<figure><a><img src=a.png alt=Lid></a><figcaption>Open it.</figcaption></figure>", "Lid - Open it."),
            ("<figure><img src=a.png alt='Open'><figcaption>Open it.</figcaption></figure>", "Open it."),
            ("<div class=wp-caption><img src=a.png><p class=wp-caption-text>The lid</p></div>", "The lid"),
            ("<img src=a.png alt='IMG_2041.jpg' title='The lid'>", "The lid"),
            ("<img src=a.png>", ""),
        ],
    )
    def test_have_the_text_that_goes_with_them(self, page: str, text: str) -> None:
        assert images(page) == [("docs/a.png", text)]

    @pytest.mark.parametrize("icon", ["<img src=i{}.gif>", "<img src={}/icon.png>", "<img src={}/next.gif>"])
    def test_many_icons_in_a_figure_take_no_time(self, icon: str) -> None:
        icons = "".join(icon.format(i) for i in range(20_000))
        page = f"<figure>{icons}<figcaption></figcaption><img src=a.png alt=Lid></figure>"
        started = time.process_time()
        assert images(page) == [("docs/a.png", "Lid")]
        assert time.process_time() - started < 3.0  # a third of a second; captions looked for each time: eight

    @pytest.mark.parametrize(
        "attributes",
        [
            "src='data:image/gif;base64,R0' data-src=a.png",
            "data-original=a.png",
            "srcset='s.png 200w, a.png 800w, m.png 400w'",
            "srcset='s.png, a.png 2x'",
            "src='' data-srcset='a.png 1x'",
        ],
    )
    def test_loaded_late_have_their_real_address(self, attributes: str) -> None:
        assert images(f"<img {attributes} alt=x>") == [("docs/a.png", "x")]

    @pytest.mark.parametrize(
        "attributes",
        [
            "src='data:image/png;base64,xx'",
            "src=a.png width=32",
            "src=a.png height='16px'",
            "src=a.png style='width: 20px'",
            "src=/img/spacer.gif",
            "src=x.gif",
            "src=/img/pixel.png?id=3",
            "src=/icons/icon-search.png",
            "src=images/note.png alt='[Note]'",
            "src=a.png class='site-logo'",
            "src=a.png role=presentation",
            "src=a.png hidden",
            "src=https://www.facebook.com/tr?id=1",
            "src=https://img.shields.io/npm/v/x.svg",
            "src=javascript:x",
            "",
        ],
    )
    def test_dress_and_counters_are_left_out(self, attributes: str) -> None:
        assert images(f"<img {attributes}>") == []

    def test_each_once_and_bounded(self) -> None:
        assert len(images("<img src=a.png alt=x>" * 3)) == 1
        assert len(images("".join(f"<img src=a{i}.png alt=x>" for i in range(200)))) == MAX_MEDIA

    def test_those_of_the_frame_are_left_out(self) -> None:
        assert images("<nav><img src=a.png alt=x></nav><div class=breadcrumb><img src=b.png alt=x></div>") == []

    def test_a_caption_never_becomes_markup(self) -> None:
        assert images("<img src=a.png alt='&lt;b&gt; {0} %s \u202eabc'>") == [("docs/a.png", "<b> {0} %s abc")]


class TestPdfs:
    def test_stand_in_a_section(self) -> None:
        page = """<h2 id=files>Files</h2><a href='/m/Guide.PDF?v=2#page=3'>The <b>guide</b></a>
            <h3 id=more>More <a href=sheet.pdf></a></h3><a type='application/pdf' href=/get/7 title='Parts list'></a>
            <a href=guide.pdf.html>no</a><a href=javascript:x.pdf>no</a>"""
        assert facts(page).pdfs == (
            Media(f"{SITE}m/Guide.PDF?v=2", "The guide", "#files"),
            Media(f"{SITE}docs/sheet.pdf", "", "#files"),
            Media(f"{SITE}get/7", "Parts list", "#more"),
        )

    def test_each_once_and_bounded(self) -> None:
        assert len(facts("".join(f"<a href={i // 2}.pdf>x</a>" for i in range(20))).pdfs) == 10
        assert len(facts("".join(f"<a href={i}.pdf>x</a>" for i in range(200))).pdfs) == MAX_MEDIA
