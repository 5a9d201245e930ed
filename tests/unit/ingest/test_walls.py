"""Pages that stand in for others, as servers send them, and pages that only speak of such things."""

from __future__ import annotations

import time

import pytest
from selectolax.lexbor import LexborHTMLParser

from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.walls import PageView, bot_wall, judge, view
from ray_app.records import REASONS

URL = "https://help.example.com/articles/1"
FRAME = "script, style, noscript, template, nav, header, footer, form, button, input, .cookie-banner, .modal"
APP = "<script src=/app.js></script>"


def look(body: str, title: str = "", url: str = URL) -> PageView:
    """The view of a page whose content is what remains without its frame."""
    tree, _ = parse(f"<title>{title}</title><body>{body}")
    return view(tree, url=url, title=title, heading=_heading(body), text=_content(body))


def _heading(body: str) -> str:
    node = LexborHTMLParser(body).css_first("h1, h2")
    return node.text() if node is not None else ""


def _content(body: str) -> str:
    tree = LexborHTMLParser(body)
    for node in tree.css(FRAME + ", h1, h2, title"):
        node.decompose()
    return " ".join(tree.text().split())


NOT_FOUND = [
    ("404 Not Found", "<h1>Not Found</h1><p>The requested URL /x was not found on this server."),
    ("Page not found | Acme Support", "<h1>Oops!</h1><p>The page you are looking for does not exist."),
    ("Page Not Found - Acme", "<h1>404</h1><p>Sorry, we can't find that page. Try the search or go to our home page."),
    (
        "Acme Help Center",
        "<h1>Oops, page not found</h1><p>You may have mistyped the address or the page may have moved.",
    ),
    ("Acme", "<h1>Sorry</h1><p>The page you were looking for could not be found. It may have been removed.</p>"),
    ("Error 404", f"<h1>Error 404</h1><p>This page doesn't exist.</p><p>Popular: {'Reset your camera. ' * 40}</p>"),
    ("Nothing here", "<h2>404</h2><p>There is nothing here."),
    ("Seite nicht gefunden – Acme", "<h1>Seite nicht gefunden</h1><p>Die gesuchte Seite existiert leider nicht mehr."),
    ("Acme", "<h1>Hoppla</h1><p>Die angeforderte Seite konnte leider nicht gefunden werden.</p>"),
    ("Page introuvable | Acme", "<h1>Erreur 404</h1><p>La page demandée n'existe pas ou a été déplacée."),
    ("Página no encontrada", "<h1>Error 404</h1><p>La página que buscas no existe."),
    ("Pagina non trovata - Acme", "<h1>404</h1><p>La pagina richiesta non esiste."),
    ("Página não encontrada", "<h1>Ops</h1><p>A página que você procura não existe ou foi removida."),
    ("Pagina niet gevonden", "<h1>404</h1><p>Deze pagina bestaat niet meer."),
    ("Nie znaleziono strony", "<h1>Błąd 404</h1><p>Strona o podanym adresie nie istnieje."),
    ("ページが見つかりません | Acme", "<h1>404</h1><p>お探しのページは見つかりませんでした。"),
    ("页面不存在", "<h1>404</h1><p>您要找的页面不存在。"),
    ("找不到頁面 - Acme", "<h1>抱歉</h1><p>找不到您要的頁面。"),
    ("페이지를 찾을 수 없습니다", "<h1>404</h1><p>요청하신 페이지를 찾을 수 없습니다."),
    ("הדף לא נמצא", "<h1>404</h1><p>הדף שחיפשת לא נמצא."),
    ("الصفحة غير موجودة", "<h1>404</h1><p>الصفحة المطلوبة غير موجودة."),
]
LOGIN_FORM = "<form><label>User</label><input name=user><input type=password name=p><button>Go</button></form>"
LOGIN = [
    ("Sign in - Acme", f"<h1>Sign in to your account</h1>{LOGIN_FORM}<p>Forgot your password?"),
    ("Log In | Support", f"<h2>Log in</h2>{LOGIN_FORM}"),
    ("Acme Partner Portal", f"<p>You must be logged in to view this page.{LOGIN_FORM}"),
    ("Login required", "<h1>Login required</h1><p>Please sign in to continue."),
    ("KB 4711", "<p>You need to log in to access this article.</p>"),
    ("Acme", f"<h1>Welcome back</h1>{LOGIN_FORM}"),
    ("Anmelden", f"<h1>Bitte melden Sie sich an</h1>{LOGIN_FORM}"),
    ("Kundenbereich", "<p>Sie müssen sich anmelden, um diese Seite zu sehen."),
    ("Connexion", f"<h1>Connectez-vous à votre compte</h1>{LOGIN_FORM}"),
    ("Iniciar sesión | Acme", f"<h1>Inicia sesión</h1>{LOGIN_FORM}"),
    ("Accedi", f"<h1>Accedi</h1>{LOGIN_FORM}"),
    ("Entrar", f"<h1>Acesse sua conta</h1>{LOGIN_FORM}"),
    ("Inloggen", f"<h1>Inloggen</h1>{LOGIN_FORM}"),
    ("Zaloguj się", f"<h1>Logowanie</h1>{LOGIN_FORM}"),
    ("ログイン", f"<h1>ログイン</h1>{LOGIN_FORM}"),
    ("登录 - Acme", f"<h1>用户登录</h1>{LOGIN_FORM}"),
    ("Acme", "<p>请先登录后查看此内容。"),
    ("로그인", f"<h1>로그인</h1>{LOGIN_FORM}"),
    ("התחברות", f"<h1>כניסה לחשבון</h1>{LOGIN_FORM}"),
    ("تسجيل الدخول", f"<h1>تسجيل الدخول</h1>{LOGIN_FORM}"),
    ("Sign in", "<h1>Sign in</h1><form><input type=email autocomplete=username><button>Next</button></form>"),
]
COOKIE = [
    (
        "Before you continue",
        "<h1>Before you continue</h1><p>We use cookies to deliver services.<button>Accept all</button>",
    ),
    (
        "Acme",
        "<div class=cookie-banner>This site uses cookies. <button>I agree</button> <button>Settings</button></div>",
    ),
    (
        "Cookies",
        "<h1>We value your privacy</h1><p>We and our partners store cookies on a device.<button>Reject all</button>",
    ),
    ("Acme", "<div class=cookie-banner>Wir verwenden Cookies.<button>Alle akzeptieren</button></div>"),
    ("Acme", "<div class=cookie-banner>Nous utilisons des cookies.<button>Tout accepter</button></div>"),
    ("Acme", "<div class=cookie-banner>Utilizamos cookies.<a class=btn href=#>Aceptar</a></div>"),
    ("Acme", "<div class=cookie-banner>Utilizziamo i cookie.<button>Accetta</button></div>"),
    ("Acme", "<div class=cookie-banner>Usamos cookies.<input type=submit value='Aceitar todos'></div>"),
    ("Acme", "<div class=cookie-banner>Wij gebruiken cookies.<button>Alles accepteren</button></div>"),
    ("Acme", "<div class=cookie-banner>Używamy plików cookie.<button>Zgadzam się</button></div>"),
    ("Acme", "<div class=cookie-banner>当サイトはクッキーを使用します。<button>同意する</button></div>"),
    ("Acme", "<div class=cookie-banner>我们使用 Cookie。<button>接受</button></div>"),
    ("Acme", "<div class=cookie-banner>쿠키를 사용합니다.<button>동의</button></div>"),
    ("Acme", "<div class=cookie-banner>האתר משתמש בעוגיות.<button>אישור</button></div>"),
    ("Acme", "<div class=cookie-banner>نستخدم ملفات تعريف الارتباط.<button>موافق</button></div>"),
    ("Acme", "<p>Please enable cookies in your browser and reload."),
]
STATE = '{"article":"' + "The whole text of the page stands in here. " * 60 + '"}'
SHELL = [
    ("Acme Help", f"<div id=root></div>{APP}"),
    ("Acme Help", f"<noscript>You need to enable JavaScript to run this app.</noscript><div id=root></div>{APP}"),
    ("Acme", f"<noscript>Bitte aktivieren Sie JavaScript.</noscript><div id=portal></div>{APP}"),
    ("Acme", f"<app-root></app-root><p>Loading…</p>{APP}"),
    ("Acme", f"<div id=__next></div><script id=__NEXT_DATA__ type=application/json>{STATE}</script>{APP}"),
    ("Acme", f"<div id=shop></div><script>window.__INITIAL_STATE__={STATE}</script>"),
    ("Acme", f"<p>This site requires JavaScript. Please turn it on.</p>{APP}"),
    ("Acme", f"<p>JavaScript is disabled in your browser.</p>{APP}"),
    ("Acme", f"<p>请启用 JavaScript 以继续浏览。</p>{APP}"),
]
BOT = [
    ("Just a moment...", f"<p>Checking your browser before accessing acme.com. Ray ID: 1a2b</p>{APP}"),
    ("Just a moment...", "<h1>acme.com</h1><script>window._cf_chl_opt={}</script><p>Verifying you are human."),
    ("Attention Required! | Cloudflare", "<h1>Sorry, you have been blocked</h1><p>Why have I been blocked? Ray ID: 7"),
    ("Access Denied", "<h1>Access Denied</h1><p>You don't have permission to access this server. Reference #18.2f"),
    ("acme.com", "<iframe src='https://geo.captcha-delivery.com/captcha/?x'></iframe>"),
    ("Access to this page has been denied", "<div id=px-captcha></div><p>Press & Hold to confirm you are a human"),
    ("", "<iframe src='/_Incapsula_Resource?x'>Request unsuccessful. Incapsula incident ID: 1-2</iframe>"),
    ("Human Verification", "<script>window.gokuProps={}</script><div id=captcha-container></div>"),
    ("Pardon Our Interruption", "<h1>Pardon Our Interruption</h1><p>Please confirm that you are human."),
    ("Robot Check", "<p>Enter the characters you see below. Sorry, we just need to make sure you're not a robot."),
    ("Acme", "<p>Please verify you are a human.</p><div class=h-captcha></div>"),
    ("Nur einen Moment…", "<p>Bestätigen Sie, dass Sie ein Mensch sind.</p><div class=cf-turnstile></div>"),
    ("Un instant…", "<p>Vérification que vous êtes humain.</p><script src=https://challenges.cloudflare.com/x></script>"),
    ("请稍候…", "<p>请完成验证,确认您是真人。</p><script src=https://challenges.cloudflare.com/x></script>"),
    ("しばらくお待ちください...", "<p>人間であることを確認します。</p><script src=https://challenges.cloudflare.com/x></script>"),
]  # fmt: skip

TEXT = "Hold the power button for ten seconds until the light turns red, then let go and wait for the chime. "
PAGES = [
    # About the matter, at any length
    ("404 Not Found", "<h1>404 Not Found</h1><p>This error means that the server has no such page. Check the address."),
    ("Page not found", "<h1>Page not found</h1><p>How to fix this error: clear the cache, then open the page again."),
    ("Custom Error Responses", "<h1>Custom Error Responses</h1><p>ErrorDocument 404 /missing.html sends that page."),
    ("How to log in", f"<h1>How to log in</h1><p>Open the app and press Log in.</p>{LOGIN_FORM}"),
    ("Log in to the router", f"<h1>Log in to the router</h1><p>Type 192.168.0.1 and the password.</p>{LOGIN_FORM}"),
    ("Can't sign in?", "<h1>Can't sign in?</h1><p>Reset your password in the app."),
    ("Authentication", "<h1>Authentication and Authorization</h1><p>Any process by which you verify who someone is."),
    ("http.cookies", "<h1>http.cookies</h1><p>The module defines classes for cookies.</p><button>Accept</button>"),
    ("Cookie policy", f"<h1>Cookie policy</h1><p>We use cookies. {TEXT * 3}</p><button>Accept all</button>"),
    ("reCAPTCHA keys", "<h1>reCAPTCHA keys</h1><p>Paste the site key here.</p><div class=g-recaptcha></div>"),
    ("Why am I asked to verify that I am human?", "<h1>Why am I asked?</h1><p>The shop is protected."),
    ("Enable JavaScript", "<h1>Enable JavaScript in your browser</h1><p>Open Settings, then Site settings.</p>" + APP),
    ("Access denied", "<h1>Access denied</h1><p>The drive shows this message when it is locked.</p>"),
    ("Security check", "<h1>Security check</h1><p>Test the alarm once a month.</p>"),
    # Short pages with the usual things around them
    ("sense", "<h1>sense</h1><p>Same as the sensekey opcode."),
    ("ipow", f"<h1>ipow</h1><p>Deprecated.</p>{APP}"),
    ("Reset", f"<header>{LOGIN_FORM}</header><h1>Reset</h1><p>{TEXT}</p>"),
    ("Reset", f"<h1>Reset</h1><p>{TEXT}</p><p>Please sign in to leave a comment."),
    ("Reset", f"<h1>Reset</h1><p>{TEXT}</p><div class=cookie-banner>We use cookies<button>Accept</button></div>"),
    ("Reset", f"<h1>Reset</h1><p>{TEXT}</p><noscript>Enable JavaScript to see comments.</noscript>{APP}"),
    ("Reset", f"<div id=root><h1>Reset</h1><p>{TEXT}</p></div>{APP}"),
    ("Reset", f"<h1>Reset</h1><p>{TEXT}</p><div id=app></div>{APP}"),
    ("Contact", "<h1>Contact</h1><p>Write to us, we answer.</p><form><input name=mail><p class=g-recaptcha></form>"),
    ("Search", "<h1>Search</h1><p>Searching for multiple words only shows matches that contain all words.</p>" + APP),
    ("Moved", "<h1>git-remote-helpers</h1><p>This document has been moved to gitremote-helpers(7)."),
    ("Manual", "<h1>Manual</h1><p>This article is not available in French."),
    ("Status", "<h1>Files that were not found</h1><p>The scanner lists files that were not found on the card."),
    # Long ones with every sign
    ("404 Not Found", f"<h1>Page not found</h1><p>The page does not exist. {TEXT * 20}"),
    ("Sign in", f"<h1>Sign in</h1>{LOGIN_FORM}<p>{TEXT * 10}"),
]  # fmt: skip


class TestJudge:
    @pytest.mark.parametrize(("title", "body"), NOT_FOUND)
    def test_a_page_that_says_it_is_not_there(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == "soft_404"

    @pytest.mark.parametrize(("title", "body"), LOGIN)
    def test_a_page_that_asks_who_is_there(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == "login_wall"

    @pytest.mark.parametrize(("title", "body"), COOKIE)
    def test_a_page_that_asks_for_consent(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == "cookie_wall"

    @pytest.mark.parametrize(("title", "body"), SHELL)
    def test_a_page_that_scripts_would_fill(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == "js_shell"

    @pytest.mark.parametrize(("title", "body"), BOT)
    def test_a_page_that_asks_for_proof(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == "bot_wall"

    @pytest.mark.parametrize(("title", "body"), PAGES)
    def test_a_page_that_has_something_to_say(self, title: str, body: str) -> None:
        assert judge(look(body, title)) == ""

    def test_the_address_is_a_witness(self) -> None:
        assert judge(look("<p>Lost?", "Acme", "https://x.example/404.html")) == "soft_404"
        assert judge(look(LOGIN_FORM, "Acme", "https://x.example/account/login?next=/a")) == "login_wall"
        assert judge(look("<p>Lost?", "Acme", "https://x.example/404-series-fans")) == ""

    @pytest.mark.parametrize(("title", "body"), COOKIE[:-1])
    def test_a_notice_is_one_too_when_it_is_all_the_text(self, title: str, body: str) -> None:
        page = look(body, title)
        assert judge(page.saying(page.shown)) == "cookie_wall"

    def test_a_heading_alone_is_all_the_text(self) -> None:
        assert judge(look(f"<p>Welcome back</p>{LOGIN_FORM}", "Acme")) == "login_wall"
        assert judge(look("<p>Page not found</p>", "Acme")) == "soft_404"

    def test_a_second_opinion_may_find_a_page(self) -> None:
        page = look("<nav>Menu</nav><div class=h-captcha></div><div id=px-captcha></div>", "Acme")
        assert judge(page) == "bot_wall"
        assert judge(page.saying(TEXT * 8)) == ""
        assert judge(page.saying(TEXT * 50)) == ""

    def test_every_verdict_is_a_reason(self) -> None:
        assert {"soft_404", "login_wall", "cookie_wall", "js_shell", "bot_wall"} <= REASONS.keys()


class TestView:
    def test_leaves_the_tree_as_it_is(self) -> None:
        tree, _ = parse(f"<div id=app>{TEXT}</div>{LOGIN_FORM}<noscript>x</noscript>{APP}")
        before = tree.html
        view(tree, url=URL, title="", heading="", text="")
        assert tree.html == before

    def test_a_long_page_costs_nothing(self) -> None:
        page = look(f"<p>{TEXT * 50}</p>{LOGIN_FORM}")
        assert (page.passwords, page.shown, page.content) == (0, "", "")

    def test_what_is_hidden_is_not_shown(self) -> None:
        page = look("<p>a<p hidden>b<p style='display:none'>c</p><button>d</button><script>e</script>")
        assert page.shown.split() == ["a", "d"]

    @pytest.mark.parametrize("body", ["", "<", "<body", "\x00", "<noscript>", "<div id=root>" * 300])
    def test_any_page_has_a_view(self, body: str) -> None:
        assert judge(look(body)) in ("", "js_shell")

    def test_time_is_bounded(self) -> None:
        started = time.perf_counter()
        for text in ("page " * 300, "the " * 400, "error 404 " * 150, "cookies " * 190, "log in " * 200, "not " * 400):
            judge(look(f"<h1>{text}</h1><p>{text[:480]}</p>", text))
        judge(look("<script>" + "a" * 2_000_000 + "</script>"))
        assert time.perf_counter() - started < 1


class TestBotWall:
    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [
            (403, {"CF-Mitigated": "challenge"}, b""),
            (503, {"Server": "cloudflare"}, b"<title>Just a moment...</title>"),
            (403, {}, b"<title>Attention Required! | Cloudflare</title>"),
            (403, {}, b"error code: 1020"),
            (403, {}, b"Access Denied ... Reference #18.5 https://errors.edgesuite.net/18.5"),
            (403, {}, b"<div id='px-captcha'></div>"),
            (403, {}, b"<script src='https://ct.captcha-delivery.com/c.js'>"),
            (403, {}, b"<iframe src='/_Incapsula_Resource?SWUDNSAI=31'>"),
            (403, {"x-amzn-waf-action": "captcha"}, b""),
            (403, {}, b"Sucuri WebSite Firewall - Access Denied"),
            (429, {"x-vercel-mitigated": "challenge"}, b"Vercel Security Checkpoint"),
            (429, {}, b"<script>window.KPSDK={};</script>"),
            (403, {}, b"<form><div class='g-recaptcha'></div></form>"),
            (503, {}, b"Generated by Wordfence at Mon"),
            (401, {}, b"<title>DDoS-Guard</title>"),
        ],
    )
    def test_a_guard_answers(self, status: int, headers: dict[str, str], body: bytes) -> None:
        assert bot_wall(status, headers, body)

    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [
            (403, {"Server": "cloudflare", "CF-Ray": "1"}, b"<h1>Forbidden</h1>"),
            (403, {"Server": "Apache"}, b"<h1>Forbidden</h1><p>You don't have permission to access this resource."),
            (401, {"WWW-Authenticate": "Basic"}, b"<h1>Unauthorized</h1>"),
            (401, {}, b"<form><input type=password><div class='g-recaptcha'></div></form>"),
            (429, {"Retry-After": "30"}, b"Too many requests"),
            (429, {"Server": "cloudflare"}, b"error code: 1015"),
            (503, {"Retry-After": "600"}, b"<h1>Service Unavailable</h1> for maintenance"),
            (200, {"cf-mitigated": "challenge"}, b"_cf_chl_opt"),
            (404, {}, b"px-captcha"),
            (403, {}, b""),
        ],
    )
    def test_the_site_answers(self, status: int, headers: dict[str, str], body: bytes) -> None:
        assert not bot_wall(status, headers, body)
