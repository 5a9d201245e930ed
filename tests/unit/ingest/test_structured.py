"""What pages tell machines, told well and badly."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.structured import MAX_CRUMBS, MAX_NAME_CHARS, MAX_NAMES, Hints, read

URL = "https://www.example.com/products/mc-707/"


def hints(markup: str) -> Hints:
    tree, _ = parse(markup)
    return read(tree, URL)


def ld(*things: str) -> Hints:
    return hints("".join(f'<script type="application/ld+json">{thing}</script>' for thing in things))


class TestJsonLd:
    def test_a_product(self) -> None:
        found = ld(
            '{"@context": "https://schema.org", "@type": "Product", "name": " MC-707  &amp; stand ", "sku": 12345,'
            '"mpn": "MC707-EU", "model": {"@type": "ProductModel", "name": "MC-707"}, "brand": {"name": "Acme"},'
            '"offers": {"availability": "https://schema.org/Discontinued"}}'
        )
        assert found.products == ("MC-707 & stand",)
        assert found.part_numbers == ("12345", "MC707-EU")
        assert found.models == ("MC-707",)
        assert found.brands == ("Acme",)
        assert found.is_product
        assert found.discontinued

    @pytest.mark.parametrize(
        "thing",
        [
            '{"@graph": [{"@type": "WebPage"}, {"@type": "Product", "name": "X1"}]}',
            '[{"@type": ["Thing", "Product"], "name": ["X1", "X one"]}]',
            '{"@type": "WebPage", "mainEntity": {"@type": "http://schema.org/ProductModel", "name": "X1"}}',
            '{"@type": "TechArticle", "about": [{"@type": "schema:Product", "name": {"@value": "X1"}}]}',
            '<!-- {"@type": "Product", "name": "X1"} -->',
            '/* <![CDATA[ */ {"@type": "Product", "name": "X1"} /* ]]> */',
            '{"@type": "Product",\n"description": "two\nlines", "name": "X1"}',
            "{&quot;@type&quot;: &quot;Product&quot;, &quot;name&quot;: &quot;X1&quot;}",
        ],
    )
    def test_is_found_however_it_is_wrapped(self, thing: str) -> None:
        assert ld(thing).products == ("X1",)

    @pytest.mark.parametrize(
        "thing",
        [
            "",
            "{",
            "null",
            "12",
            '"Product"',
            '{"@type": "Product"}',
            '{"@type": "Product", "name": {}}',
            '{"@type": "Product", "name": [[["x"]]]}',
            '{"@type": "Product", "name": "' + "x" * 1000 + '"}',
            '{"@type": 7, "name": "x", "offers": [1, null]}',
            '{"@type": "Product", "name": "\\ud800"}',
            "[" * 100_000,
            '{"a":' * 100_000,
            '{"@type": "Product", "isRelatedTo": {"@type": "Product", "name": "other"}}',
            '{"@type": "ItemList", "itemListElement": [{"@type": "Product", "name": "other"}]}',
        ],
    )
    def test_what_names_no_product_of_this_page(self, thing: str) -> None:
        assert ld(thing).products == ()

    def test_the_product_that_gives_this_address_is_meant(self) -> None:
        found = ld(
            '{"@type": "Product", "name": "Other", "url": "https://www.example.com/products/other/"}',
            '{"@type": "Product", "name": "MC-707", "url": "https://www.example.com/products/mc-707"}',
        )
        assert found.products == ("MC-707",)

    def test_several_products_are_no_product_page(self) -> None:
        found = ld(
            *(f'{{"@type": "Product", "name": "X{n}", "offers": {{"availability": "Discontinued"}}}}' for n in (1, 2))
        )
        assert not found.is_product
        assert not found.discontinued

    @pytest.mark.parametrize(
        ("availability", "discontinued"),
        [
            ('"https://schema.org/Discontinued"', True),
            ('{"@id": "schema:Discontinued"}', True),
            ('["InStock", "Discontinued"]', True),
            ('"InStock"', False),
            ("null", False),
            ("[" * 1_015 + "]" * 1_015, False),
        ],
    )
    def test_an_offer_tells_what_is_sold_no_more(self, availability: str, discontinued: bool) -> None:
        found = ld(f'{{"@type": "Product", "name": "X1", "offers": {{"availability": {availability}}}}}')
        assert (found.products, found.discontinued) == (("X1",), discontinued)

    def test_trail_and_site(self) -> None:
        found = ld(
            '{"@type": "BreadcrumbList", "itemListElement": [{"name": "Home"}, {"item": {"name": "MC-707"}}, 3]}',
            '{"@type": "WebSite", "name": "Acme"}',
        )
        assert found.crumbs == ("Home", "MC-707")
        assert found.sites == ("Acme",)

    def test_right_to_left_names_survive(self) -> None:
        assert ld('{"@type": "Product", "name": "פסנתר חשמלי PL-61"}').products == ("פסנתר חשמלי PL-61",)
        assert ld('{"@type": "Product", "name": "\u202eبيانو رقمي\u202c PL-61"}').products == ("بيانو رقمي PL-61",)


class TestMarkup:
    def test_microdata(self) -> None:
        found = hints(
            '<div itemscope itemtype="https://schema.org/Product"><h1 itemprop="name">MC-707</h1>'
            '<meta itemprop="sku" content="4711"><span itemprop="mpn">MC707</span><b itemprop="model">707</b>'
            '<p itemprop="brand" itemscope itemtype="https://schema.org/Brand"><i itemprop="name">Acme</i></p>'
            '<p itemprop="offers" itemscope itemtype="https://schema.org/Offer"><b itemprop="name">Sale</b>'
            '<link itemprop="availability" href="https://schema.org/Discontinued"></p></div><p itemprop="name">Else</p>'
        )
        assert found.products == ("MC-707",)
        assert found.part_numbers == ("4711", "MC707")
        assert found.models == ("707",)
        assert found.brands == ("Acme",)
        assert found.headings == ("MC-707",)
        assert found.discontinued

    def test_open_graph(self) -> None:
        found = hints(
            '<meta property="og:title" content="MC-707 | Acme"><meta name="twitter:title" content="MC-707">'
            '<meta property="og:type" content="Product"><meta property="og:site_name" content="Acme">'
            '<meta property="product:retailer_item_id" content="4711"><meta property="product:availability" '
            'content="discontinued">'
        )
        assert found.titles == ("MC-707 | Acme", "MC-707")
        assert (found.is_product, found.discontinued) == (True, True)
        assert (found.sites, found.part_numbers) == (("Acme",), ("4711",))

    @pytest.mark.parametrize(
        "trail",
        [
            "<nav aria-label='Breadcrumb'><ol><li><a>Home</a></li><li>Products</li><li>MC-707</li></ol></nav>",
            "<ul class=breadcrumbs><li><a>Home</a> ›</li><li><a>Products</a> ›</li><li><b>MC</b>-707</li></ul>",
            "<div class='page-breadcrumb'><a>Home</a> / <a>Products</a> / MC-707</div>",
            "<div class=breadcrumb><span><span><a>Home</a> » <a>Products</a> » <i>MC-707</i></span></span></div>",
            "<p class=breadcrumb>Home &gt; Products &gt; MC-707</p>",
            "<ol itemprop=breadcrumb itemscope itemtype='https://schema.org/BreadcrumbList'><li>"
            "<span itemprop=name>Home</span></li><li>/</li><li>Products</li><li>MC-707</li></ol>",
            f"<div class='has-breadcrumbs'>{'<li>menu</li>x' * 50}"
            "<ol class=breadcrumb><li>Home<li>Products<li>MC-707</ol></div>",
        ],
    )
    def test_trails(self, trail: str) -> None:
        assert hints(trail).crumbs == ("Home", "Products", "MC-707")

    def test_headings_without_permalinks_and_hidden_ones(self) -> None:
        assert hints("<h1>MC-707<a href='#x'>¶</a></h1><h1 hidden>secret</h1><h1> </h1>").headings == ("MC-707",)

    def test_an_unclosed_heading_is_no_heading(self) -> None:
        assert hints("<h1>" + "<p>word word word</p>" * 1000).headings == ()


class TestBounds:
    def test_everything_is_capped(self) -> None:
        page = "".join(f"<h1>Heading {n}</h1><meta property=og:title content='T{n}'>" for n in range(500))
        page += "<ul class=breadcrumb>" + "".join(f"<li>{n}</li>" for n in range(MAX_CRUMBS + 1)) + "</ul>"
        page += f"<h1>{'x' * (MAX_NAME_CHARS + 1)}</h1>"
        found = hints(page)
        assert len(found.headings) == len(found.titles) == MAX_NAMES
        assert found.crumbs == ()
        assert max(map(len, found.headings)) <= MAX_NAME_CHARS

    @pytest.mark.parametrize(
        "page",
        [
            "<div itemscope itemtype=x/Product>" * 100 + "<b itemprop=name>" * 100 + "x" * 200_000,
            "<b itemprop=name>x</b>" * 20_000,
            "<h1>" * 200 + "x" * 500_000,
            "<ul class=breadcrumb>" * 120 + "<li>x" * 20_000,
            "<meta name=keywords content='a,b'>" * 20_000,
            '<script type="application/ld+json">[' + '{"@graph":[' * 50_000 + "</script>",
            '<script type="application/ld+json">{"@type":"Product","name":"x"}</script>' * 10_000,
            '<script type="application/ld+json">[' + '{"@type":"Product","name":"x"},' * 15_000 + "{}]</script>",
            "",
            "\x00",
        ],
    )
    def test_a_hostile_page_is_read_in_time(self, page: str) -> None:
        tree, _ = parse(page)
        start = time.perf_counter()
        read(tree, URL)
        assert time.perf_counter() - start < 2

    def test_does_not_change_the_tree(self) -> None:
        tree, _ = parse("<h1 class=breadcrumb>A</h1><script type='application/ld+json'>{}</script>")
        before = tree.html
        read(tree, URL)
        assert tree.html == before
