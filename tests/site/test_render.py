"""The Renderer with a real Chromium against pages that need scripts, and against pages whose scripts misbehave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from pydantic import SecretStr
from traps import UA, Kit, make_kit, needs_browser

from ray_app.config import RenderSettings
from ray_app.errors import ConfigError
from ray_app.ingest.extract_html import extract
from ray_app.ingest.fetch import HostProfile
from ray_app.ingest.render import rules as render_rules
from ray_app.ingest.urls import origin
from ray_app.records import Extracted, FetchResult, UrlState
from ray_app.testing.site import Page, Site, scripted

pytest.importorskip("playwright", reason="Playwright is not installed (pip install 'backline[js]')")
pytestmark = [needs_browser, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = RenderSettings(script_s=4.0, timeout_s=25.0, html_cap_bytes=2**20, memory_mb=900)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Kit]:
    async with Site() as site, make_kit(site, SETTINGS) as made:
        yield made


@pytest.fixture
def kit(running: Kit) -> Iterator[Kit]:
    """The one browser of this file, on a site without memory."""
    pages = dict(running.site.pages)
    running.site.requests.clear()
    running.getter.forget()
    yield running
    running.site.pages.clear()
    running.site.pages.update(pages)


def read(result: FetchResult) -> Extracted:
    return extract(result.body, brand="acme", url=result.task.url, charset=result.charset, fetched_at=result.fetched_at)


def shown(result: FetchResult) -> str:
    """The HTML without the scripts that the page came with."""
    return result.body.decode().partition("<noscript>")[0]


def is_rendered(result: FetchResult) -> bool:
    return result.detail.startswith("Rendered")


class TestContent:
    async def test_a_shell_becomes_an_article(self, kit: Kit) -> None:
        plain = await kit.fetch("/scripted/shell")
        assert read(plain).document is None
        result = await kit.renderer.render(plain, kit.profile)
        found = read(result)
        assert found.document
        assert found.document.title == "Resetting the MC-707"
        assert scripted.TEXT in found.document.sections[0].text
        assert found.links == (kit.site.url("/ok"), kit.site.url("/scripted/module"))
        assert (result.state, result.reason, result.media_type, result.charset) == (
            UrlState.FETCHED,
            "ok",
            "text/html",
            "utf-8",
        )
        assert result.detail == "Rendered with 2 scripts and data."
        assert result.seconds > plain.seconds
        assert result.bytes_received > plain.bytes_received

    async def test_the_page_is_fetched_once_and_only_scripts_and_data_beside_it(self, kit: Kit) -> None:
        kit.site.pages["/shell"] = Page(scripted.page("", "<script src=/app.js?own></script>"))
        kit.site.pages["/app.js"] = Page(scripted.APP.encode(), media_type="text/javascript")
        await kit.render("/shell")
        assert kit.site.paths() == ["/shell", "/app.js?own", "/scripted/api/article"]
        request = kit.site.requests[-1]
        assert (request.headers["x-client"], request.headers["User-Agent"]) == ("shell", UA)
        assert not {"Cookie", "Referer", "Accept-Language", "sec-ch-ua"} & set(request.headers)

    async def test_the_shells_validators_do_not_vouch_for_what_scripts_load(self, kit: Kit) -> None:
        kit.site.pages["/shell"] = Page(
            scripted.page("show()"), etag='"v1"', last_modified="Wed, 01 Oct 2025 12:00:00 GMT"
        )
        plain = await kit.fetch("/shell")
        assert plain.etag
        result = await kit.renderer.render(plain, kit.profile)
        assert (result.etag, result.last_modified) == ("", "")

    @pytest.mark.parametrize(
        "name", ["module", "late", "throws", "clock", "alerts", "opens", "writes", "reloads", "posts"]
    )
    async def test_the_text_is_there(self, kit: Kit, name: str) -> None:
        result = await kit.render(f"/scripted/{name}")
        assert is_rendered(result)
        assert scripted.TEXT in shown(result)
        assert not {"/scripted/api/order", "/scripted/shell"} & set(kit.site.paths())

    async def test_what_stands_in_shadow_roots_is_read_and_its_styles_stay_there(self, kit: Kit) -> None:
        result = await kit.render("/scripted/shadow")
        assert "<style>" not in shown(result)
        text = " ".join(section.text for section in getattr(read(result).document, "sections", ()))
        assert f"In the shadow: {scripted.TEXT}" in text
        assert "Slotted note." in text
        assert "Slotted rest." in text
        assert "no note" in text, "the second one is given nothing"

    async def test_a_page_cannot_hide_its_tree_behind_names(self, kit: Kit) -> None:
        result = await kit.render("/scripted/clobber")
        assert is_rendered(result)
        assert "<p>Inside the form.</p></form>" in shown(result)

    async def test_charset_of_the_page(self, kit: Kit) -> None:
        result = await kit.render("/scripted/latin-1")
        assert "Für Müller" in shown(result)
        document = read(result).document
        assert document is None or "Ã" not in document.sections[0].text

    async def test_links_are_relative_to_where_scripts_have_put_the_page(self, kit: Kit) -> None:
        result = await kit.render("/scripted/pushes")
        assert result.task.url == kit.site.url("/scripted/pushes")
        assert f'<base href="{kit.site.url("/scripted/deep/er")}">' in shown(result)
        assert read(result).links == (kit.site.url("/scripted/deep/next"),)

    async def test_the_page_believes_that_it_is_online_and_is_told_who_reads_it(self, kit: Kit) -> None:
        result = await kit.render("/scripted/online")
        assert "online: true" in shown(result)
        assert f"Safari/537.36 {UA}" in shown(result)
        assert "Headless" not in shown(result)

    async def test_nothing_is_carried_from_page_to_page(self, kit: Kit) -> None:
        for _ in range(2):
            result = await kit.render("/scripted/keeps")
            assert "cookie , stored undefined" in shown(result)

    async def test_what_is_no_page_comes_back_untouched(self, kit: Kit) -> None:
        for path in ("/manual.pdf", "/404", "/redirect", "/empty"):
            plain = await kit.fetch(path)
            assert await kit.renderer.render(plain, kit.profile) is plain


class TestRedirects:
    async def test_where_scripts_lead_is_reported_and_not_visited(self, kit: Kit) -> None:
        for target in (kit.site.url("/ok"), "https://elsewhere.example/x"):
            result = await kit.render(f"/scripted/leads?to={target}")
            assert (result.state, result.reason, result.location) == (UrlState.SKIPPED, "redirect", target)
            assert result.body == b""
        assert "/ok" not in kit.site.paths()

    @pytest.mark.parametrize("name", sorted(scripted.DEPARTURES))
    async def test_every_way_to_leave(self, kit: Kit, name: str) -> None:
        markup = scripted.DEPARTURES[name] % {"url": kit.site.url("/ok")}
        kit.site.pages["/leaves"] = Page(scripted.page("show()") + markup.encode())
        result = await kit.render("/leaves")
        if name in ("form-post", "download"):
            assert is_rendered(result), "neither is done, so the page stays"
        else:
            assert result.location == kit.site.url("/ok")
        assert kit.site.paths() == ["/leaves"]

    @pytest.mark.parametrize(
        "target", ["file:///etc/passwd", "data:text/html,x", "javascript:1", "ftp://127.0.0.1/", "chrome://version"]
    )
    async def test_nowhere_but_http(self, kit: Kit, target: str) -> None:
        markup = f"<meta http-equiv=refresh content='0; url={target}'><script>location.href = '{target}'</script>"
        kit.site.pages["/leaves"] = Page(scripted.page("show()") + markup.encode())
        result = await kit.render("/leaves")
        assert (result.location, result.reason) == ("", "ok")
        assert "root:" not in result.body.decode()

    @pytest.mark.parametrize("name", ["blank", "blob"])
    async def test_another_document_is_not_taken_for_the_page(self, kit: Kit, name: str) -> None:
        result = await kit.render(f"/scripted/{name}")
        assert result.detail == "Not rendered: Its scripts put another document in its place."

    async def test_a_page_that_loads_itself_for_ever(self, kit: Kit) -> None:
        result = await kit.render("/scripted/reloads-forever")
        assert (result.reason, result.location) == ("ok", "")
        assert kit.site.paths() == ["/scripted/reloads-forever"]


class TestRequests:
    async def test_robots_txt_holds_for_what_scripts_ask_for(self, kit: Kit) -> None:
        kit.site.pages["/asks"] = Page(scripted.page("fetch('/private/secret').catch(() => show())"))
        result = await kit.render("/asks")
        assert scripted.TEXT in shown(result)
        assert kit.site.paths() == ["/asks"]
        assert result.detail == "Rendered with 1 scripts and data, 1 of them not to be had."

    async def test_redirects_are_followed_hop_by_hop(self, kit: Kit) -> None:
        hops = {f"/hop/{n}": Page(status=302, headers={"Location": f"/hop/{n + 1}"}) for n in range(7)}
        kit.site.pages.update(hops)
        kit.site.pages["/hop/5"] = Page(b'{"n": 5}', media_type="application/json")
        tell = "fetch('/hop/{}').then(a => a.json()).then(d => root.append(`got ${{d.n}}`), () => root.append('none'))"
        kit.site.pages["/asks"] = Page(scripted.page("show();" + tell.format(0)))
        assert "got 5" in shown(await kit.render("/asks"))
        kit.site.pages["/hop/5"] = hops["/hop/5"]
        kit.site.pages["/hop/7"] = Page(b'{"n": 7}', media_type="application/json")
        assert "none" in shown(await kit.render("/asks"))
        assert kit.site.count("/hop/6") == 0

    @pytest.mark.parametrize(
        "target", ["http://169.254.169.254/latest/", "http://127.0.0.1:9/", "http://[::1]/", "file:///etc/passwd"]
    )
    async def test_a_redirect_does_not_get_past_the_guard(self, kit: Kit, target: str) -> None:
        script = f"fetch('/scripted/api/to?url={target}').then(a => a.text()).then(t => root.append(t), () => show())"
        kit.site.pages["/asks"] = Page(scripted.page(script))
        assert scripted.TEXT in shown(await kit.render("/asks"))
        assert set(kit.getter.reasons.values()) <= {"redirect", "blocked_address", "protocol"}

    async def test_answers_of_other_hosts_are_read_by_their_leave_only(self, kit: Kit) -> None:
        async with Site(host="127.0.0.2") as other:
            both = HostProfile(0.0, UA, (kit.site.authority, other.authority))
            other.pages["/open"] = Page(b"open", media_type="text/plain", headers={"Access-Control-Allow-Origin": "*"})
            other.pages["/closed"] = Page(b"closed", media_type="text/plain")
            other.pages["/for-you"] = Page(
                b"for-you",
                media_type="text/plain",
                headers={"Access-Control-Allow-Origin": f"http://{kit.site.authority}"},
            )
            asks = "".join(
                f"fetch('{url}', {{headers: {{authorization: 'token'}}}}).then(a => a.text())"
                f".then(t => root.append(`[${{t}}]`), () => root.append('[refused]'));"
                for url in (
                    *map(other.url, ("/open", "/closed", "/for-you")),
                    f"/scripted/api/to?url={other.url('/closed')}",
                )
            )
            kit.site.pages["/asks"] = Page(scripted.page("show();" + asks))
            text = shown(await kit.render("/asks", both))
            assert ("[open]" in text, "[for-you]" in text, "[closed]" in text) == (True, True, False)
            assert text.count("[refused]") == 2
            origins = {request.headers.get("Origin") for request in other.requests if request.path == "/for-you"}
            assert origins == {f"http://{kit.site.authority}"}
            hopped = [request for request in other.requests if "authorization" not in request.headers]
            assert "/closed" in [request.path for request in hopped], "a token goes nowhere but where it was meant for"

    async def test_a_script_of_another_host_runs_and_a_tracker_is_not_asked(self, kit: Kit) -> None:
        async with Site(host="127.0.0.2") as other:
            both = HostProfile(0.0, UA, (kit.site.authority, other.authority))
            other.pages["/lib.js"] = Page(b"show()", media_type="text/javascript")
            head = f"<script src={other.url('/lib.js')}></script><script src=https://www.googletagmanager.com/gtag/js></script>"
            kit.site.pages["/asks"] = Page(scripted.page("") + head.encode())
            assert scripted.TEXT in shown(await kit.render("/asks", both))
            assert [task.url for task in kit.getter.asked] == [other.url("/lib.js")]

    async def test_secrets_stay_on_their_site(self, kit: Kit) -> None:
        async with Site(host="127.0.0.2") as other:
            mine = HostProfile(
                0.0,
                UA,
                (kit.site.authority, other.authority),
                (("X-Key", SecretStr("opensesame")),),
                frozenset((origin(kit.site.url()),)),
            )
            other.pages["/data"] = Page(b"1", media_type="text/plain", headers={"Access-Control-Allow-Origin": "*"})
            data = other.url("/data")
            script = f"show(); fetch('/ok'); fetch('{data}'); fetch('/scripted/api/to?url={data}')"
            kit.site.pages["/asks"] = Page(scripted.page(script))
            await kit.render("/asks", mine)
            assert {r.headers.get("X-Key") for r in kit.site.requests if r.path == "/ok"} == {"opensesame"}
            assert other.count("/data") == 2
            assert not any("X-Key" in request.headers for request in other.requests)
            # The other way round: a page elsewhere must not use them on the site.
            other.pages["/asks"] = Page(scripted.page(f"show(); fetch('{kit.site.url('/ok')}')"))
            kit.site.requests.clear()
            plain = await kit.fetch("/ok", mine)
            page = replace(plain, task=replace(plain.task, url=other.url("/asks")), body=other.pages["/asks"].body)
            kit.site.requests.clear()
            await kit.renderer.render(page, mine)
            assert [r.headers.get("X-Key") for r in kit.site.requests if r.path == "/ok"] == [None]

    async def test_only_gets_are_sent(self, kit: Kit) -> None:
        asks = "".join(f"fetch('/ok', {{method: '{m}'}}).catch(() => 0);" for m in ("POST", "PUT", "DELETE", "HEAD"))
        kit.site.pages["/asks"] = Page(scripted.page("show();" + asks + "navigator.sendBeacon('/ok', 'x')"))
        assert is_rendered(await kit.render("/asks"))
        assert kit.site.paths() == ["/asks"]

    async def test_a_script_is_fetched_once_for_many_pages(self, kit: Kit) -> None:
        kit.site.pages["/lib.js"] = Page(b"show()", media_type="text/javascript")
        for path in ("/one", "/two", "/three"):
            kit.site.pages[path] = Page(scripted.page("") + b"<script src=/lib.js></script>")
        results = await asyncio.gather(*map(kit.render, ("/one", "/two", "/three")))
        assert all(scripted.TEXT in shown(result) for result in results)
        assert kit.site.count("/lib.js") == 1


class TestBounds:
    """Whatever a page does ends, costs that page only, and leaves the browser as it was."""

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("spins", "Its scripts ran for 4 seconds without a pause."),
            ("spins-later", "Its scripts ran for 4 seconds without a pause."),
            ("huge", "Its scripts made it larger than 1048576 bytes."),
            ("many", "Its scripts made it larger than 1048576 bytes."),
            ("deep", "Its process ended: it crashed, or wanted more memory than allowed."),
        ],
    )
    async def test_it_is_given_up(self, kit: Kit, name: str, why: str) -> None:
        plain = await kit.fetch(f"/scripted/{name}")
        began = time.monotonic()
        result = await kit.renderer.render(plain, kit.profile)
        assert time.monotonic() - began < 15
        assert result == replace(plain, detail=f"Not rendered: {why}", seconds=result.seconds)
        assert is_rendered(await kit.render("/scripted/shell"))

    async def test_ten_thousand_requests(self, kit: Kit) -> None:
        began = time.monotonic()
        result = await kit.render("/scripted/flood")
        assert time.monotonic() - began < 15
        assert result.detail.startswith("Not rendered: "), "which of three bounds it meets first is a matter of speed"
        assert len(kit.site.paths()) <= 151

    @pytest.mark.parametrize("name", ["hog", "heap"])
    async def test_memory_is_bounded(self, kit: Kit, name: str) -> None:
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                if chromium := kit.renderer.chromium:
                    most = max(most, chromium.memory())
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        result = await kit.render(f"/scripted/{name}")
        watching.cancel()
        assert result.reason == "ok"
        assert 0 < most < 1.5 * SETTINGS.memory_mb * 2**20, "a process may fill its own bound beside the others"
        assert is_rendered(await kit.render("/scripted/shell"))

    async def test_one_that_hangs_does_not_hold_up_another(self, kit: Kit) -> None:
        hanging = asyncio.create_task(kit.render("/scripted/spins"))
        await asyncio.sleep(0.5)
        assert is_rendered(await kit.render("/scripted/shell"))
        assert not hanging.done()
        await hanging

    async def test_one_that_never_rests_is_taken_as_it_is(self, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(render_rules, "HOPELESS_S", 2.0)
        result = await kit.render("/scripted/restless")
        assert scripted.TEXT in shown(result)
        assert result.detail.endswith("taken before it came to rest.")

    async def test_images_are_not_asked_for(self, kit: Kit) -> None:
        assert is_rendered(await kit.render("/scripted/images"))
        assert kit.site.paths() == ["/scripted/images"]

    async def test_many_requests_that_are_refused_anyway(self, kit: Kit) -> None:
        flood = "show(); for (let i = 0; i < 10000; i++) fetch('/x' + i, {method: 'POST'}).catch(() => 0)"
        kit.site.pages["/floods"] = Page(scripted.page(flood))
        result = await kit.render("/floods")
        assert result.detail.startswith("Not rendered: ")
        assert kit.site.paths() == ["/floods"]

    async def test_too_many_bytes(self, kit: Kit) -> None:
        kit.site.pages["/big.js"] = Page(b"//" + bytes(9 * 2**20), media_type="text/javascript")
        kit.site.pages["/asks"] = Page(scripted.page("show()") + b"<script src=/big.js></script>")
        assert (await kit.render("/asks")).detail == "Not rendered: Its scripts and data are larger than allowed."


class TestSettings:
    async def test_a_page_that_waits_for_ever_is_taken_when_its_time_is_over(self) -> None:
        async with Site() as site, make_kit(site, SETTINGS.model_copy(update={"timeout_s": 8.0})) as kit:
            site.pages["/waits"] = Page(scripted.page("fetch('/scripted/api/hangs'); root.append('Loading')"))
            result = await kit.render("/waits")
            assert result.detail == "Rendered with 1 scripts and data, taken before it came to rest."
            assert 2 < result.seconds < 8

    async def test_other_hosts_can_be_shut_out(self) -> None:
        settings = SETTINGS.model_copy(update={"other_hosts": False})
        async with Site() as site, Site(host="127.0.0.2") as other, make_kit(site, settings) as kit:
            both = HostProfile(0.0, UA, (site.authority, other.authority))
            site.pages["/asks"] = Page(scripted.page(f"show(); fetch('{other.url('/ok')}')"))
            assert is_rendered(await kit.render("/asks", both))
            assert other.requests == []

    async def test_the_pace_of_the_host_is_kept(self) -> None:
        async with Site() as site, make_kit(site, SETTINGS) as kit:
            slow = HostProfile(4.0, UA, (site.authority,))
            site.pages["/asks"] = Page(scripted.page("show(); for (let i = 0; i < 6; i++) fetch('/ok?n=' + i)"))
            plain = await kit.fetch("/asks", slow)
            began = time.monotonic()
            await kit.renderer.render(plain, slow)
            assert time.monotonic() - began >= 6 / 4
            assert len(site.paths()) == 7

    async def test_a_mistake_of_the_caller_is_told_and_costs_no_other_page(self, kit: Kit) -> None:
        plain = await kit.fetch("/scripted/shell")
        kit.site.pages["/asks"] = Page(scripted.page("show(); fetch('/ok')"))
        page = await kit.fetch("/asks")
        with pytest.raises(ConfigError):
            await kit.renderer.render(page, HostProfile(0.0, UA, ("http://no/entry",)))
        assert is_rendered(await kit.renderer.render(plain, kit.profile))
