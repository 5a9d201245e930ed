"""Whatever is sent to POST /v1/ask, the answer is never a server error."""

from __future__ import annotations

import asyncio
import json

import httpx
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = ("question", "brand", "product", "lang", "history", "stream", "k", "use_llm")
nearly_right = st.fixed_dictionaries({"question": st.text(st.characters()) | anything}).flatmap(
    lambda start: st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4).map(lambda more: more | start)
)
relaxed = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def post(app, content: bytes) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
            return await client.post("/v1/ask", content=content, headers=JSON)

    return asyncio.run(send())


def check(response: httpx.Response) -> None:
    assert response.status_code in (200, 400, 404, 413, 422), response.text
    if response.status_code != 200:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code
        response.text.encode()  # no half of a surrogate pair gets out


@given(st.binary(max_size=200))
@example(b"[" * 2_000)
@example(b'{"question": ' + b"9" * 1_900 + b"}")
@example(b"1" * 2_000)
@example(b"\xff\xfe\x00")
@example(b'{"question": "\xed\xa0\x80 how"}')
@relaxed
def test_any_bytes(app, content):
    check(post(app, content))


@given(anything | nearly_right)
@example({"question": "how", "k": float("nan")})
@example({"question": "how", "k": 10**400})
@example({"question": "how", "\ud800": 1})
@example({"question": "\ud83d how"})
@relaxed
def test_any_json(app, value):
    check(post(app, json.dumps(value).encode()))


@given(st.text(st.characters(), max_size=150))
@relaxed
def test_any_question(app, text):
    check(post(app, json.dumps({"question": text}).encode()))
