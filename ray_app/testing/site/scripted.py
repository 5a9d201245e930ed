"""Pages that are empty without scripts, pages whose scripts misbehave, and pages whose scripts try to get out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from ray_app.testing.site.pages import HTML

TEXT: Final = (
    "Hold SHIFT and press PLAY until the display shows FACTORY RESET, then let go. The MC-707 restarts within ten "
    "seconds and has forgotten all projects, sounds and settings, so make a copy of them on the card before you begin."
)
ARTICLE: Final = {"title": "Resetting the MC-707", "text": TEXT, "links": ["/ok", "/scripted/module"]}

APP: Final = """
fetch('/scripted/api/article', {headers: {'x-client': 'shell'}}).then(answer => answer.json()).then(article => {
  const links = article.links.map(link => `<li><a href="${link}">${link}</a></li>`).join('');
  document.title = article.title;
  document.getElementById('root').innerHTML =
    `<main><h1>${article.title}</h1><p>${article.text}</p><ul>${links}</ul></main>`;
});
"""
_SHOW = f"function show() {{ document.getElementById('root').innerHTML = {json.dumps(f'<p>{TEXT}</p>')}; }}"
_SHADOW = f"""
customElements.define('help-text', class extends HTMLElement {{
  connectedCallback() {{
    const root = this.attachShadow({{mode: 'open'}});
    root.innerHTML = '<style>p {{display: none}}</style><p>In the shadow: ' + {json.dumps(TEXT)} +
      '</p><slot name="note">no note</slot><slot>nothing given</slot>';
  }}
}});
document.getElementById('root').innerHTML =
  '<help-text><b slot="note">Slotted note.</b><i>Slotted rest.</i></help-text><help-text></help-text>';
"""
_CLOBBER = """
document.getElementById('root').innerHTML += '<form><input name=childNodes><input name=attributes>' +
  '<input name=nodeType><input name=localName><p>Inside the form.</p></form><img name=documentElement>' +
  '<img name=querySelector><img name=createTreeWalker><img name=readyState>';
"""

# Body of each page by its name; ``show()`` writes a text into ``#root``.
SCRIPTS: Final[Mapping[str, str]] = {
    "late": "setTimeout(show, 2000);",
    "restless": "show(); setInterval(() => fetch('/scripted/api/tick?' + Math.random()), 100);",
    "clock": "show(); setInterval(() => { document.title = Date.now(); root.lastChild.dataset.at = Date.now(); }, 50);",
    "throws": "show(); throw new Error('on purpose');",
    "leads": "location.href = new URLSearchParams(location.search).get('to');",
    "posts": "document.body.innerHTML += '<form method=post action=/scripted/api/order></form>'; "
    "document.forms[0].submit(); setTimeout(show, 300);",
    "reloads": "if (!sessionStorage.seen) { sessionStorage.seen = 1; location.reload(); } else show();",
    "reloads-forever": "show(); location.reload();",
    "pushes": "history.pushState({}, '', '/scripted/deep/er'); show(); root.innerHTML += '<a href=next>next</a>';",
    "flood": "show(); for (let i = 0; i < 10000; i++) fetch('/scripted/api/tick?' + i);",
    "images": "show(); for (let i = 0; i < 5000; i++) new Image().src = '/image' + i;",
    "spins": "show(); while (true) {}",
    "spins-later": "show(); setTimeout(() => { while (true) {} }, 50);",
    "hog": "show(); const all = []; while (true) all.push(new Uint8Array(1 << 24).fill(all.length));",
    "heap": "show(); const all = []; while (true) all.push(new Array(1e6).fill({}).map(() => ({a: Math.random()})));",
    "huge": "show(); for (let i = 0; i < 300; i++) root.append('x'.repeat(8000));",
    "many": "for (let i = 0; i < 150000; i++) root.append(document.createElement('i'));",
    "deep": "show(); let at = root; for (let i = 0; i < 20000; i++) at = at.appendChild(document.createElement('b'));",
    "alerts": "alert('one'); confirm('two'); prompt('three'); show();",
    "opens": "window.open('/scripted/shell'); window.open('/ok'); show();",
    "shadow": _SHADOW,
    "clobber": f"show(); {_CLOBBER}",
    "writes": "document.open(); document.write('<p id=root></p>'); document.close(); show();",
    "closes": "show(); window.close();",
    "blank": "show(); location.href = 'about:blank';",
    "blob": "show(); location.href = URL.createObjectURL(new Blob(['<p>elsewhere'], {type: 'text/html'}));",
    "online": "show(); root.append('online: ' + navigator.onLine + ', agent: ' + navigator.userAgent);",
    "keeps": "show(); root.append(`cookie ${document.cookie}, stored ${localStorage.mark}`);"
    "document.cookie = 'mark=1'; localStorage.mark = 1;",
}


def page(script: str, head: str = "") -> bytes:
    """A page with an empty ``#root`` and a script."""
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Help</title>{head}</head><body>"
        f"<div id=root></div><noscript>You need to enable JavaScript to run this app.</noscript>"
        f"<script>{_SHOW}</script><script>{script}</script></body></html>"
    ).encode()


_MARKUP: Final[Mapping[str, bytes]] = {
    "shell": page("", "<script defer src=/scripted/app.js></script><link rel=stylesheet href=/scripted/app.css>"),
    "module": page("", "<script type=module src=/scripted/main.mjs></script>"),
    "frame": page("show()", "").replace(b"</body>", b"<iframe src=/ok></iframe></body>"),
    "latin-1": page("show(); root.append('F\u00fcr ' + 'M\u00fcller');")
    .decode()
    .replace("charset=utf-8", "charset=iso-8859-1")
    .encode("latin-1"),
}
_FILES: Final[Mapping[str, tuple[str, str]]] = {
    "app.js": ("text/javascript", APP),
    "main.mjs": ("text/javascript", "import {text} from './parts.mjs'; root.innerHTML = `<p>${text}</p>`;"),
    "parts.mjs": ("text/javascript", f"export const text = {json.dumps('From a module: ' + TEXT)};"),
    "app.css": ("text/css", "#root {color: black}"),
}


def routes() -> list[web.RouteDef]:
    """``/scripted/NAME`` for each page and file above, and ``/scripted/api/...``."""
    return [
        web.get("/scripted/api/article", _article),
        web.get("/scripted/api/tick", _tick),
        web.get("/scripted/api/hangs", _hangs),
        web.get("/scripted/api/to", _to),
        web.get("/scripted/{name}", _page),
    ]


async def _page(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name in _FILES:
        kind, text = _FILES[name]
        return web.Response(text=text, content_type=kind)
    body = _MARKUP.get(name) or (page(SCRIPTS[name]) if name in SCRIPTS else None)
    if body is None:
        raise web.HTTPNotFound
    charset = "text/html" if name == "latin-1" else HTML  # which says so itself
    return web.Response(body=body, headers={"Content-Type": charset})


async def _article(_: web.Request) -> web.Response:
    return web.json_response(ARTICLE)


async def _tick(_: web.Request) -> web.Response:
    return web.json_response({"tick": 1})


async def _hangs(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.json_response({})


async def _to(request: web.Request) -> web.Response:
    """A redirect to ``?url=``, with ``?status=`` or 302."""
    return web.Response(status=int(request.query.get("status", "302")), headers={"Location": request.query["url"]})


def ways_out(tcp: str, udp: str) -> dict[str, str]:
    """Scripts that each try to make the browser connect to ``tcp`` or ``udp`` (host:port), by name.

    The name stands in the path wherever there is one.
    """
    web_urls = {name: f"http://{tcp}/{name}" for name in _BY_URL}
    others = {
        "websocket": f"new WebSocket('ws://{tcp}/websocket')",
        "stun": f"gather('stun:{udp}')",
        "turn": f"gather('turn:{tcp}?transport=tcp')",
        "webtransport": f"new WebTransport('https://{udp}/webtransport').ready.catch(() => 0)",
        "preconnect": f"link('preconnect', 'http://{tcp}')",
        "dns-prefetch": f"link('dns-prefetch', '//{tcp}')",
    }
    return {name: script % {"url": web_urls[name]} for name, script in _BY_URL.items()} | others


# Needed by the scripts below.
HELPERS: Final = """
const add = (name, more) => document.body.appendChild(Object.assign(document.createElement(name), more));
const link = (rel, href, more) => document.head.appendChild(
  Object.assign(document.createElement('link'), {rel, href, ...more}));
const gather = urls => {
  const peer = new RTCPeerConnection({iceServers: [{urls, username: 'u', credential: 'c'}]});
  peer.createDataChannel('x');
  peer.createOffer().then(offer => peer.setLocalDescription(offer));
};
const worker = (text, Type = Worker) => new Type(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})));
"""
_BY_URL: Final[Mapping[str, str]] = {
    "fetch": "fetch('%(url)s').catch(() => 0)",
    "fetch-no-cors": "fetch('%(url)s', {mode: 'no-cors', credentials: 'include'}).catch(() => 0)",
    "fetch-post": "fetch('%(url)s', {method: 'POST', mode: 'no-cors', body: 'x'}).catch(() => 0)",
    "fetch-keepalive": "fetch('%(url)s', {keepalive: true, mode: 'no-cors'}).catch(() => 0)",
    "fetch-preflight": "fetch('%(url)s', {method: 'PUT', headers: {'x-a': '1'}}).catch(() => 0)",
    "xhr": "{ const x = new XMLHttpRequest(); x.open('GET', '%(url)s'); x.send(); }",
    "script": "add('script', {src: '%(url)s'})",
    "module": "add('script', {type: 'module', src: '%(url)s'})",
    "import": "import('%(url)s').catch(() => 0)",
    "image": "new Image().src = '%(url)s'",
    "css-image": "add('div', {style: 'width: 9px; height: 9px; background: url(%(url)s)'})",
    "stylesheet": "link('stylesheet', '%(url)s')",
    "css-import": "add('style', {textContent: '@import url(%(url)s)'})",
    "font": "new FontFace('x', 'url(%(url)s)').load().catch(() => 0)",
    "video": "add('video', {src: '%(url)s', preload: 'auto'}).load()",
    "track": "add('video', {innerHTML: '<track default src=%(url)s>'}).textTracks[0].mode = 'showing'",
    "frame": "add('iframe', {src: '%(url)s'})",
    "object": "add('object', {data: '%(url)s', type: 'text/html'})",
    "embed": "add('embed', {src: '%(url)s', type: 'text/html'})",
    "eventsource": "new EventSource('%(url)s')",
    "beacon": "navigator.sendBeacon('%(url)s', 'x')",
    "ping": "add('a', {href: '#', ping: '%(url)s', textContent: 'x'}).click()",
    "popup": "window.open('%(url)s')",
    "form-popup": "add('form', {action: '%(url)s', method: 'post', target: '_blank'}).submit()",
    "form-frame": "add('iframe', {name: 'inner'}), "
    "add('form', {action: '%(url)s', method: 'post', target: 'inner'}).submit()",
    "prefetch": "link('prefetch', '%(url)s')",
    "preload": "link('preload', '%(url)s', {as: 'fetch'})",
    "modulepreload": "link('modulepreload', '%(url)s')",
    "speculation": "add('script', {type: 'speculationrules', textContent: "
    "JSON.stringify({prefetch: [{source: 'list', urls: ['%(url)s'], eagerness: 'immediate'}], "
    "prerender: [{source: 'list', urls: ['%(url)s'], eagerness: 'immediate'}]})})",
    "worker-fetch": "worker(`fetch('%(url)s', {mode: 'no-cors'}).catch(() => 0)`)",
    "worker-import": "worker(`importScripts('%(url)s')`)",
    "shared-worker": "worker(`fetch('%(url)s', {mode: 'no-cors'}).catch(() => 0)`, SharedWorker)",
    "service-worker": "navigator.serviceWorker?.register('/scripted/app.js').catch(() => 0), "
    "fetch('%(url)s', {mode: 'no-cors'}).catch(() => 0)",
    "manifest": "link('manifest', '%(url)s')",
    "icon": "link('icon', '%(url)s')",
}

# Scripts and heads that lead the page itself away; only one fits on a page.
DEPARTURES: Final[Mapping[str, str]] = {
    "location": "<script>location.href = '%(url)s'</script>",
    "refresh": "<meta http-equiv=refresh content='0; url=%(url)s'>",
    "form": "<form action='%(url)s'></form><script>document.forms[0].submit()</script>",
    "form-post": "<form method=post action='%(url)s'></form><script>document.forms[0].submit()</script>",
    "download": "<a download href='%(url)s'>x</a><script>document.links[0].click()</script>",
    "link": "<a href='%(url)s'>x</a><script>document.links[0].click()</script>",
}
