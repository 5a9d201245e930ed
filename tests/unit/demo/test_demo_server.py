from __future__ import annotations

import http.client
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ray_app.demo.server import HOST, SITE, DemoSite, Served
from ray_app.errors import BacklineError, ConfigError

Answer = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with DemoSite() as running:
        yield running


def _ask(site: DemoSite, path: str, *, brand: str = "tarnwald", method: str = "GET", **headers: str) -> Answer:
    port = urlsplit(site.urls()[brand]).port
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_each_brand_has_its_own_port(site: DemoSite) -> None:
    assert sorted(site.urls()) == ["pellandine", "tarnwald"]
    assert len(set(site.urls().values())) == 2
    for brand in site.urls():
        status, headers, body = _ask(site, "/", brand=brand)
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert body == (SITE / brand / "index.html").read_bytes()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/robots.txt", "text/plain; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/logo.svg", "image/svg+xml"),
        ("/manuals/tarnwald-tw-reference.pdf", "application/pdf"),
        ("/support/?from=mail", "text/html; charset=utf-8"),
        ("/products/tw%2D8i.html", "text/html; charset=utf-8"),
    ],
)
def test_media_types(site: DemoSite, path: str, kind: str) -> None:
    status, headers, body = _ask(site, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert len(body) == int(headers["Content-Length"])


@pytest.mark.parametrize(
    "path",
    [
        "/archive/tm-8-rack-drawing.html",
        "/support",
        "/manuals/",
        "/../pellandine/index.html",
        "/%2e%2e/%2e%2e/server.py",
        "//etc/passwd",
        "/a%00b",
        "/" + "x" * 5000,
    ],
)
def test_not_found(site: DemoSite, path: str) -> None:
    assert _ask(site, path)[0] == 404


def test_validators_give_304(site: DemoSite) -> None:
    _, headers, _ = _ask(site, "/support/faq.html")
    for conditions in (
        {"If_Modified_Since": headers["Last-Modified"]},
        {"If_None_Match": headers["ETag"]},
        {"If_None_Match": f'"other", W/{headers["ETag"]}', "If_Modified_Since": formatdate(0, usegmt=True)},
    ):
        status, again, body = _ask(site, "/support/faq.html", **conditions)
        assert (status, body) == (304, b"")
        assert again["ETag"] == headers["ETag"]


@pytest.mark.parametrize(
    "conditions",
    [
        {"If_Modified_Since": formatdate(0, usegmt=True)},
        {"If_Modified_Since": "last Tuesday"},
        {"If_None_Match": '"other"', "If_Modified_Since": formatdate(4e9, usegmt=True)},
    ],
)
def test_stale_validators_give_200(site: DemoSite, conditions: dict[str, str]) -> None:
    assert _ask(site, "/support/faq.html", **conditions)[0] == 200


def test_head_sends_no_body(site: DemoSite) -> None:
    status, headers, body = _ask(site, "/support/", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == (SITE / "tarnwald/support/index.html").stat().st_size


def test_requests_are_logged(site: DemoSite) -> None:
    site.log.clear()
    _ask(site, "/products/", brand="pellandine")
    assert list(site.log) == [Served("pellandine", "/products/", 200)]


def test_an_edit_shows_at_once_even_when_the_clock_does_not_move(tmp_path: Path) -> None:
    shutil.copytree(SITE, tmp_path / "site")
    page = tmp_path / "site" / "tarnwald" / "support" / "faq.html"
    with DemoSite(tmp_path / "site") as site:
        _, headers, _ = _ask(site, "/support/faq.html")
        modified = page.stat().st_mtime
        page.write_text("<title>Changed</title>", encoding="utf-8")
        os.utime(page, (modified, modified))
        known = {"If_None_Match": headers["ETag"], "If_Modified_Since": headers["Last-Modified"]}
        assert _ask(site, "/support/faq.html", **known)[2] == b"<title>Changed</title>"


def test_stop_cuts_idle_connections_and_ends_its_threads() -> None:
    before = threading.active_count()
    site = DemoSite()
    site.start()
    connection = http.client.HTTPConnection(HOST, urlsplit(site.urls()["tarnwald"]).port, timeout=5)
    connection.request("GET", "/")
    connection.getresponse().read()
    site.stop()
    site.stop()
    assert threading.active_count() == before
    connection.close()
    with pytest.raises(BacklineError):
        site.urls()


def test_ports_can_be_chosen() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="cannot listen"):
            DemoSite(ports={"tarnwald": port}).start()
    with DemoSite(ports={"tarnwald": port}) as site:
        assert site.urls()["tarnwald"] == f"http://{HOST}:{port}/"


def test_wrong_brand_or_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        DemoSite(ports={"nobody": 0}).start()
    with pytest.raises(ConfigError, match="no demo site"):
        DemoSite(tmp_path).start()
