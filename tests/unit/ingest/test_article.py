"""News, blog and help articles: what is the text and what is trimming."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.extract_html import extract
from ray_app.ingest.page.article import is_article
from ray_app.ingest.page.dom import parse
from ray_app.records import Document

ARTICLE = "<meta property=og:type content=article><title>Quiet nights | Acme Help</title>"
PARAGRAPHS = [
    f"Paragraph {i} says how the fan behaves, and why, when the room is warmer than it was." for i in range(9)
]
BODY = "".join(f"<p>{paragraph}</p>" for paragraph in PARAGRAPHS)
PROSE = "\n\n".join(PARAGRAPHS)


def document(page: str) -> Document:
    url = "https://help.example.com/docs/page.html"
    found = extract((ARTICLE + page).encode(), brand="b", url=url, charset="", fetched_at=0.0).document
    assert found is not None
    return found


def text(page: str) -> str:
    return "\n\n".join(section.text for section in document(page).sections)


class TestIsArticle:
    @pytest.mark.parametrize(
        "page",
        [
            "<meta property='og:type' content='article'>",
            "<meta property='article:published_time' content='2020'>",
            "<div itemscope itemtype='http://schema.org/NewsArticle'>",
            "<div itemscope itemtype='https://schema.org/BlogPosting'>",
            """<script type="application/ld+json">{"@type": "NewsArticle"}</script>""",
            """<script type="application/ld+json">{"@type": ["Thing", "BlogPosting"]}</script>""",
            "<div itemprop=articleBody>",
        ],
    )
    def test_by_what_the_page_says(self, page: str) -> None:
        assert is_article(parse(page)[0])

    @pytest.mark.parametrize(
        "sign",
        [
            "<meta name=generator content='Sphinx 5.0'>",
            "<meta name=Generator content='DocBook XSL Stylesheets'>",
            "<h2>A<a href=#a>#</a></h2><h2>B<a href=#b>#</a></h2>",
            """<script type="application/ld+json">{"@type":"QAPage"}</script>""",
            """<script type="application/ld+json">{"@type": "TechArticle"}</script>""",
        ],
    )
    def test_documentation_and_questions_are_none(self, sign: str) -> None:
        assert not is_article(parse(ARTICLE + sign)[0])

    def test_silence_is_no_sign(self) -> None:
        assert not is_article(parse("<article><h2><a href=#>Menu</a></h2><p>x</article>")[0])


class TestBody:
    def test_microdata_tell_it(self) -> None:
        page = f"<div><p>{'Other long text stands here. ' * 20}</p></div><div itemprop='articleBody text'>{BODY}</div>"
        assert text(page) == PROSE

    def test_names_tell_it(self) -> None:
        page = f"<div><p>Short notice of another kind, of some length.</p><div class=post-content>{BODY}</div></div>"
        assert text(page) == PROSE

    def test_a_name_with_little_of_the_prose_is_not_believed(self) -> None:
        page = f"<div>{BODY}</div><div class=article-body><p>Twenty-five letters and more.</p></div>"
        assert text(page).startswith(PROSE)

    def test_without_names_the_place_of_the_prose_tells_it(self) -> None:
        page = f"<div><div><p>Welcome to our pages, dear reader.</p></div><div><section>{BODY}</section></div></div>"
        assert text(page) == PROSE

    def test_it_may_come_in_pieces(self) -> None:
        piece = "<div class='story-body x'>{}</div><div class=slot>Advertisement</div>"
        page = "".join(piece.format(f"<p>{paragraph}</p>") for paragraph in PARAGRAPHS)
        assert text(f"<div>{page}</div>") == PROSE

    def test_its_summary_belongs_to_it(self) -> None:
        lead = "All that can be said about fans at night, in nine paragraphs that are all much the same."
        page = f"<div><h1>Quiet nights</h1><div class=summary>{lead}</div><div class=article-text>{BODY}</div></div>"
        assert text(page) == f"{lead}\n\n{PROSE}"

    def test_headings_anchors_tables_and_code_survive(self) -> None:
        page = f"""<div class=article-body><h1>Quiet nights</h1>{BODY}<h2 id=codes>Codes</h2>
            <table><tr><th>Code<th>Meaning<tr><td>E1<td>hot</table><pre>fan --quiet
            <span class=comment># at night</span></pre></div>"""
        last = document(page).sections[-1]
        assert (last.path, last.anchor) == (("Codes",), "#codes")
        assert last.text.startswith("| Code | Meaning |\n|-|-|\n| E1 | hot |\n\n```\nfan --quiet\n")
        assert "# at night" in last.text


class TestTrimmings:
    @pytest.mark.parametrize(
        "trimming",
        [
            "<div class='share-bar'>Share this with all your friends</div>",
            "<section class=comments><p>A reader writes that all this is plainly wrong, and says why.</p></section>",
            "<div id=related-articles><p>Other fans are louder, as we found out when we tried them.</p></div>",
            "<div class=newsletterSignup>Get our letter every week, with more about fans</div>",
            "<p class=byline>By Jane Doe, who has written about fans for years</p>",
            "<ul class=article__tags><li><a href=/t>fans</a><li><a href=/u>night</a></ul>",
            "<aside><p>Our shop has fans of all sizes, in stock and ready to be sent.</p></aside>",
            "<footer>All rights reserved by us and nobody else</footer>",
            "<form><p>Write to us and we will answer within a day or two</p></form>",
            "<figure><img src=a.png><figcaption>A fan that stands in a room</figcaption></figure>",
            "<div class=wp-caption><img src=a.png><p class=caption>A fan that stands in a room</p></div>",
            "<div class=gallery><div><span class=caption>A fan that stands in a room</span></div></div>",
            "<p>Read more: <a href=/x>Why fans are loud and what to do</a></p>",
            "<p><a href=/x>Why fans are loud and what to do</a></p>",
            "<div><a href=/x>Fans</a> <a href=/y>Heaters</a></div>",
            "<article><h2>Another</h2><p>An article within an article is about something else.</p></article>",
            "".join(
                f"<div class=card><h3><a href=/{i}>Fan {i}</a></h3><p>It is a fan with a name.</p></div>" for i in "abc"
            ),
            "<div class=social-links>Follow us</div>",
            "<h1>Quiet nights</h1>",
            "<p>Nobody <span class='tooltip'>reads this, which hangs over the word</span></p>".replace("Nobody ", ""),
        ],
    )
    def test_are_left_out(self, trimming: str) -> None:
        assert text(f"<article class=entry-content>{BODY}{trimming}</article>") == PROSE

    @pytest.mark.parametrize(
        "part",
        [
            "<blockquote class='twitter-tweet social'>We have made a fan that makes no noise.</blockquote>",
            "<div class=social-embed><blockquote>We have made a fan that makes no noise.</blockquote></div>",
            "<aside class='note warning'>Do not touch the blades while the fan turns.</aside>",
            "<p><a href=/files/manual.pdf>Manual of the fan</a></p>",
            "<p>As <a href=/x>others have found before us</a>, a fan is loud when it is old.</p>",
            "<ul><li>Clean the blades<li>Oil the axle<li>Wait</ul>",
            "<div class='tag-sharing post'>A post whose tag is chosen by its author.</div>",
            "<p class=print>This paragraph is long enough to say something worth being read, in print or not.</p>",
            "<ol><li><a href=#one>Step one</a> and more of it</ol>",
        ],
    )
    def test_parts_that_look_alike_stay(self, part: str) -> None:
        assert text(f"<div class=entry-content>{BODY}{part}</div>") != PROSE

    def test_captions_stay_with_their_image(self) -> None:
        page = f"<div class=entry-content>{BODY}<figure><img src=a.png><figcaption>A fan</figcaption></figure></div>"
        assert [image.text for image in document(page).facts.images] == ["A fan"]

    def test_a_frame_name_on_what_holds_the_body_is_not_believed(self) -> None:
        assert text(f"<div class='page has-sidebar comments-open'><div class=entry-content>{BODY}</div></div>") == PROSE
        assert text(f"<div class='page has-sidebar'><div>{BODY}</div></div>") == PROSE

    def test_questions_of_a_help_article_are_no_teasers(self) -> None:
        rows = "".join(
            f"<div class=q><h3><a href=#q{i}>Why {i}?</a></h3><p>Because of the fan.</p></div>" for i in range(4)
        )
        assert text(f"<div class=article-body>{BODY}{rows}</div>").count("Because") == 4


class TestHostileArticles:
    @pytest.mark.parametrize(
        "page",
        [
            "<div class=article-body>" * 50_000 + BODY,
            "<div class=article-body><p>"
            + PARAGRAPHS[0]
            + "</div>" * 1
            + "<div class=entry-text><p>x y</p></div>" * 30_000,
            "<article>" * 300 + "<article><p>x</article>" * 30_000 + BODY,
            "<h1>Quiet nights" * 20_000 + BODY,
            f"<div class='{'post-body-' * 5_000}'>{BODY}</div>",
            "<script type=application/ld+json>" + '"@type":[' * 60_000 + "</script>" + BODY,
            "<div><h2><a href=/x>t</a></h2>" * 20_000 + BODY,
            "<figure><img><figcaption>c</figcaption>" * 10_000 + BODY,
        ],
        ids=["bodies", "pieces", "articles", "titles", "names", "data", "teasers", "figures"],
    )
    def test_time_is_bounded(self, page: str) -> None:
        started = time.process_time()
        assert "Paragraph 0" in text(page)
        assert time.process_time() - started < 4.0
