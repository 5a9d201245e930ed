"""What the names of an element (class, id) say about its part in a page: the body of an article, or its trimmings."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ray_app.ingest.clean import names


class Naming(NamedTuple):
    """What class and id hint at. Names are a site's own habit, so none of this is believed alone."""

    body: bool = False  # the text of an article
    frame: bool = False  # surely no part of the text: sharing, comments, related articles, advertising, bylines...
    minor: bool = False  # probably none
    caption: bool = False
    gallery: bool = False
    lead: bool = False  # the summary before a text
    notice: bool = False  # a note or warning, which belongs to the text whatever element holds it


NAMELESS = Naming()

MAX_NAMES_CHARS = 1_000  # of an attribute; utility classes come by the dozen, but say nothing
MAX_NAME_CHARS = 100

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATOR = re.compile(r"[^a-z0-9]+")
# "article-body", "entry-content", "story__text", "RichTextArticleBody", "field-name-body"; not "article-body-header".
_BODY = re.compile(
    r"(?:^|[-_])(?:article|story|entry|post|news|blog|page|text|single|body)s?[-_]*(?:body|contents?|text|entry)"
    r"(?![-_a-z]*(?:header|foot|side|meta|title))"
    r"|^the-?content|^field(?:-?-name)?-(?:\w+-)*body$|^(?:mw-parser-output|e-content|entry|storytext|articletext)$"
)
# Of WordPress, where an author's choice of words follows.
_FREE = ("tag-", "category-", "post-tag", "author-")
_FRAME = names(
    "share sharing shares sharethis sharedaddy sharebar sharebuttons addthis addtoany newsletter newsletters subscribe "
    "signup promo promos promotion sponsor sponsored sponsors advert adverts advertisement advertising ads ad "
    "adsbygoogle taboola outbrain zergnet disqus comments comment commentlist respond related relateds relatedposts "
    "recommended recommend recommendations recommendation recirc popular mostread trending teaser teasers sidebar "
    "breadcrumb breadcrumbs footer byline author authors bio credit credits dateline timestamp pubdate tags taglist "
    "postmeta cookie consent gdpr popup popover modal tooltip rollover hovercard masthead pagination pager readmore "
    "kicker eyebrow toc copyright feedback donate "
    "comentarios relacionados relacionadas rodape kommentare werbung anzeige publicidade publicidad publicite reklama "
    "compartilhar compartir partager teilen leiamais"
)
# An id may be made from a heading, so that "sharing-files" is what the text is about.
_FRAME_IDS = names(
    "sharedaddy sharebar newsletter advert adverts advertisement ad ads taboola outbrain zergnet disqus comments "
    "respond related relatedposts recommended recommendations recirc mostread trending sidebar breadcrumb breadcrumbs "
    "footer masthead "
    "comentarios relacionados relacionadas rodape kommentare werbung anzeige publicidade publicidad publicite reklama"
)
_MINOR = names(
    "social socials widget widgets meta metadata more next prev previous navigation follow subscription survey poll "
    "published time date print toolbar donation disclaimer rail"
)
_CAPTION = names("caption captions imgcaption figcaption")
_GALLERY = names("gallery slideshow carousel slider")
_LEAD = names(
    "lead lede summary intro introduction standfirst deck dek abstract highlights keypoints synopsis preamble"
)
_NOTICE = names(
    "note notes tip tips warning info caution danger important admonition alert hint callout notice attention"
)


def naming(classes: str, identifier: str) -> Naming:
    """What the ``class`` and ``id`` attributes say, as written."""
    by_class = _read(classes[:MAX_NAMES_CHARS], _FRAME) if classes else NAMELESS
    if not identifier:
        return by_class
    by_id = _read(identifier[:MAX_NAMES_CHARS], _FRAME_IDS)
    return by_id if by_class is NAMELESS else Naming(*(a or b for a, b in zip(by_class, by_id, strict=True)))


@lru_cache(maxsize=8192)  # a site has few class names, each on thousands of elements
def _read(given: str, frames: frozenset[str]) -> Naming:
    body = frame = False
    found: set[str] = set()
    for name in given.split():
        if name.startswith(_FREE) or len(name) > MAX_NAME_CHARS:
            continue
        kebab = _CAMEL.sub("-", name).lower()
        tokens = set(filter(None, _SEPARATOR.split(kebab)))
        found |= tokens
        if not frames.isdisjoint(tokens):
            frame = True
        elif _BODY.search(kebab):
            body = True
    read = Naming(
        body=body,
        frame=frame and not body,
        minor=not body and not _MINOR.isdisjoint(found),
        caption=not _CAPTION.isdisjoint(found),
        gallery=not _GALLERY.isdisjoint(found),
        lead=not _LEAD.isdisjoint(found),
        notice=not _NOTICE.isdisjoint(found),
    )
    return read if any(read) else NAMELESS
