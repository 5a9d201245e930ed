"""What class and id say about an element."""

from __future__ import annotations

import pytest

from ray_app.ingest.page.naming import NAMELESS, naming


@pytest.mark.parametrize(
    "classes",
    [
        "entry-content",
        "article__body clearfix",
        "RichTextArticleBody-body",
        "td-post-content",
        "story-body pagination-first",
        "field-name-body",
        "field--name-field-article-body",
        "js-article__text",
        "the-content",
    ],
)
def test_bodies(classes: str) -> None:
    found = naming(classes, "")
    assert (found.body, found.frame) == (True, False)


@pytest.mark.parametrize(
    "classes",
    [
        "article-body-header",
        "entry-content-footer",
        "post-content-meta",
        "body",
        "content",
        "nobody",
        "related-post-content",
    ],
)
def test_no_bodies(classes: str) -> None:
    assert not naming(classes, "").body


@pytest.mark.parametrize(
    "classes", ["share", "social-share-bar", "shareButtons", "article_comments", "mod-ad", "x Newsletter-Box", "rodape"]
)
def test_frames(classes: str) -> None:
    assert naming(classes, "").frame


@pytest.mark.parametrize(
    "classes", ["shared-drives", "header", "addition", "commentary", "tag-ads category-share", "shares2"]
)
def test_no_frames(classes: str) -> None:
    assert not naming(classes, "").frame


def test_class_and_id_speak_together() -> None:
    found = naming("note", "article-body")
    assert (found.notice, found.body, found.frame) == (True, True, False)
    assert naming("", "comments").frame
    assert not naming("", "sharing-files").frame


def test_what_is_too_long_to_be_a_name_says_nothing() -> None:
    assert naming("", "") is naming("wrapper row", "x1") is NAMELESS
    assert naming("a" * 5_000 + "-comments", "") is NAMELESS
