"""Held responses through the embedded proxy and a real Pushpin: backend and client must see the same."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import jwt
import pytest

from grip_consumers.embedded.connection import Limits
from grip_consumers.embedded.handshake import Signer
from grip_consumers.embedded.hub import Answer, Chunk, Hub, Item
from grip_consumers.embedded.instruct import Instruct
from grip_consumers.embedded.passage import Passage, _Clock
from tests.clients import http_client

from .rig import KEY, PATIENCE, SILENCE, Proxy, Reply, Seen, eventually

STREAM, RESPONSE = ("Grip-Hold", "stream"), ("Grip-Hold", "response")
TEXT = ("Content-Type", "text/plain")
BAD_GATEWAY = (502, "Error while proxying to origin.\n")


class Client:
    """What has come of one response so far."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False

    @property
    def text(self) -> str:
        return self.body.decode()

    async def gets(self, text: str) -> None:
        await eventually(lambda: self.text == text or self.ended, f"{text!r} in place of {self.text!r}")
        assert self.text == text

    async def ends(self) -> None:
        await eventually(lambda: self.ended, f"the end of the response after {self.text!r}")


@asynccontextmanager
async def request(proxy: Proxy, path: str, *, method: str = "GET", **options: Any) -> AsyncIterator[Client]:
    """A request that is under way; it is given up at the end of the block."""
    client = Client()

    async def run() -> None:
        async with (
            http_client(timeout=30) as http,
            http.stream(method, proxy.url + path, **options) as response,
        ):
            client.status = response.status_code
            client.headers = dict(response.headers)
            async for chunk in response.aiter_raw():
                client.body += chunk
            client.ended = True

    task = asyncio.ensure_future(run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def held(*headers: tuple[str, str], body: str = "", status: int = 200) -> Reply:
    return Reply(body.encode(), [TEXT, *headers], status, plain=True)


def channel(name: str, prev_id: str | None = None, *filters: str) -> tuple[str, str]:
    parts = [name, *([f"prev-id={prev_id}"] if prev_id else []), *(f"filter={name}" for name in filters)]
    return "Grip-Channel", "; ".join(parts)


def link(path: str, timeout: int | None = None) -> tuple[str, str]:
    return "Grip-Link", f"<{path}>; rel=next" + (f"; timeout={timeout}" if timeout is not None else "")


def chunk(channel: str, content: str, id: str | None = None, prev_id: str | None = None, **more: Any) -> dict[str, Any]:
    return item(channel, {"http-stream": {"content": content}}, id, prev_id, **more)


def answer(channel: str, body: str, id: str | None = None, prev_id: str | None = None, **more: Any) -> dict[str, Any]:
    return item(channel, {"http-response": {"body": body}}, id, prev_id, **more)


def item(channel: str, formats: Any, id: str | None = None, prev_id: str | None = None, **more: Any) -> dict[str, Any]:
    ids = {"id": id, "prev-id": prev_id}
    return {"channel": channel, "formats": formats, **{key: v for key, v in ids.items() if v}, **more}


async def is_held(proxy: Proxy, path: str, count: int = 1) -> None:
    """Return when the backend has answered and what is published arrives."""
    await eventually(lambda: len(proxy.backend.seen(path)) >= count, f"{count} requests to {path}")
    await asyncio.sleep(SILENCE)


# --- what passes through ---


async def test_a_plain_request_is_signed_and_says_nothing_of_grip_that_the_client_made_up(proxy: Proxy) -> None:
    proxy.backend.script(
        "/plain", lambda seen: held(("X-Own", "1"), ("Grip-Foo", "x"), ("Grip-Channel", "x"), body="ok")
    )
    made_up = {
        "Grip-Sig": "evil",
        "Grip-Last": "a; last-id=1",
        "Grip-Feature": "evil",
        "Grip-X": "evil",
        "Cookie": "a=b",
    }
    async with request(proxy, "/plain", headers=made_up) as client:
        await client.ends()
    (seen,) = proxy.backend.seen("/plain")
    assert (client.status, client.text, client.headers["x-own"]) == (200, "ok", "1")
    assert not [name for name in client.headers if name.startswith("grip-")]
    assert (seen.values("grip-last"), seen.values("grip-x"), seen.values("cookie")) == ([], [], ["a=b"])
    (token,) = seen.values("grip-sig")
    jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_iss": False})
    assert seen.values("grip-feature")[0].startswith("status, session, link:next")


async def test_what_a_client_posts_arrives(proxy: Proxy) -> None:
    proxy.backend.script("/posted", lambda seen: held(body=f"{seen.method} {len(seen.body)}"))
    async with request(proxy, "/posted", method="POST", content=b"x" * 100_000) as client:
        await client.gets("POST 100000")


# --- streams ---


async def test_a_stream_gets_its_body_and_then_what_is_published_to_its_channels(proxy: Proxy) -> None:
    proxy.backend.script("/s", lambda seen: held(STREAM, ("Grip-Channel", "s-a, s-b"), ("X-Own", "1"), body="first\n"))
    async with request(proxy, "/s") as client:
        await client.gets("first\n")
        await is_held(proxy, "/s")
        await proxy.publish(chunk("s-a", "a"), chunk("s-c", "c"), chunk("s-b", "é"))
        await client.gets("first\naé")
        assert (client.status, client.headers["x-own"], "grip-hold" in client.headers) == (200, "1", False)
        await proxy.publish(item("s-a", {"http-stream": {"content-bin": base64.b64encode(b"!").decode()}}))
        await client.gets("first\naé!")
        await proxy.publish(item("s-a", {"http-stream": {"action": "close"}}))
        await client.ends()
    assert client.text == "first\naé!"


async def test_an_item_of_several_formats_gives_each_its_own(proxy: Proxy) -> None:
    proxy.backend.script("/f-s", lambda seen: held(STREAM, channel("f")))
    proxy.backend.script("/f-r", lambda seen: held(RESPONSE, channel("f")))
    async with request(proxy, "/f-s") as stream, request(proxy, "/f-r") as response:
        await is_held(proxy, "/f-s")
        await is_held(proxy, "/f-r")
        formats = {"http-stream": {"content": "s"}, "http-response": {"body": "r"}, "ws-message": {"content": "w"}}
        await proxy.publish(item("f", formats))
        await stream.gets("s")
        await response.gets("r")


async def test_a_status_for_the_client_may_differ_from_that_of_the_response(proxy: Proxy) -> None:
    proxy.backend.script("/status", lambda seen: held(STREAM, channel("status"), ("Grip-Status", "299 Fine"), body="x"))
    async with request(proxy, "/status") as client:
        await client.gets("x")
    assert client.status == 299


async def test_a_silent_stream_hears_a_keep_alive(proxy: Proxy) -> None:
    cases = {
        "/keep-raw": ("ping", "ping"),
        "/keep-cstring": (r"a\\b\x3b\r\n; format=cstring", "a\\b;\r\n"),
        "/keep-unknown-escape": (r"a\tb; format=cstring", "ab"),
        "/keep-base64": ("Oik=; format=base64", ":)"),
        "/keep-interval": ("a b; mode=interval", "a b"),
    }

    def script(seen: Seen) -> Reply:
        return held(STREAM, channel("keep"), ("Grip-Keep-Alive", f"{cases[seen.path][0]}; timeout=1"))

    async with AsyncExitStack() as stack:
        clients = {}
        for path in cases:
            proxy.backend.script(path, script)
            clients[path] = await stack.enter_async_context(request(proxy, path))
        for path, (_, text) in cases.items():
            await eventually(
                lambda client=clients[path], text=text: client.text.startswith(text), f"{text!r} on {path}"
            )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/bad-hold", [("Grip-Hold", "Stream"), channel("x")]),
        ("/bad-timeout", [RESPONSE, channel("x"), ("Grip-Timeout", "soon")]),
        ("/bad-mode", [STREAM, channel("x"), ("Grip-Keep-Alive", "x; mode=odd")]),
        ("/bad-status", [STREAM, channel("x"), ("Grip-Status", "Fine")]),
        ("/comma", [STREAM, channel("x"), link("/x?a,b")]),
        ("/semicolon", [STREAM, channel("x"), link("/x?a;b")]),
    ],
)
async def test_a_malformed_hold_is_the_backends_fault(proxy: Proxy, path: str, headers: Any) -> None:
    proxy.backend.script(path, lambda seen: held(*headers, body="x"))
    async with request(proxy, path) as client:
        await client.ends()
    assert (client.status, client.text) == BAD_GATEWAY


def instructs(**document: Any) -> Callable[[Seen], Reply]:
    body = json.dumps(document).encode()
    return lambda seen: Reply(body, [("Content-Type", "application/grip-instruct")], plain=True)


async def test_a_hold_can_be_asked_for_by_the_body(proxy: Proxy) -> None:
    alive = {"content-bin": base64.b64encode(b"!").decode(), "timeout": 1}
    own = {"code": 299, "headers": [["X-A", "1"]], "body": "first"}
    hold = {"mode": "stream", "channels": [{"name": "json", "filters": ["skip-users"]}], "meta": {"user": "u"}}
    proxy.backend.script("/json", instructs(hold={**hold, "keep-alive": alive}, response=own))
    async with request(proxy, "/json") as client:
        await client.gets("first")
        await is_held(proxy, "/json")
        await proxy.publish(chunk("json", "no", meta={"skip_users": "u"}), chunk("json", "yes"))
        await eventually(lambda: client.text.replace("!", "") == "firstyes" and "!" in client.text, client.text)
    assert (client.status, client.headers["x-a"]) == (299, "1")


async def test_a_body_that_instructs_without_a_hold_is_the_response(proxy: Proxy) -> None:
    proxy.backend.script("/json-plain", instructs(response={"headers": {"X-A": "1"}, "body": "plain"}))
    proxy.backend.script("/json-bad", instructs(hold={"mode": "stream"}))
    async with request(proxy, "/json-plain") as plain, request(proxy, "/json-bad") as bad:
        await plain.ends()
        await bad.ends()
    assert (plain.status, plain.headers["x-a"], plain.text) == (200, "1", "plain")
    assert (bad.status, bad.text) == BAD_GATEWAY


# --- filters ---


async def test_filters_leave_out_whom_an_item_is_not_for(proxy: Proxy) -> None:
    filters = ("skip-self", "skip-users", "require-sub", "unheard-of")
    proxy.backend.script(
        "/filters",
        lambda seen: held(STREAM, channel("fi", None, *filters), channel("fi-2"), ("Grip-Set-Meta", "user=joe")),
    )
    async with request(proxy, "/filters") as client:
        await is_held(proxy, "/filters")
        left_out = [{"sender": "joe"}, {"skip_users": "ann, joe"}, {"require_sub": "fi-3"}]
        passing = [{"sender": "ann"}, {"skip_users": "ann"}, {"require_sub": "fi-2"}]
        metas = [meta for pair in zip(left_out, passing, strict=True) for meta in pair]
        await proxy.publish(*[chunk("fi", f"{number} ", meta=meta) for number, meta in enumerate(metas)])
        await client.gets("1 3 5 ")


async def test_content_filters_write_ids_and_meta_data_into_what_is_published(proxy: Proxy) -> None:
    meta = ("Grip-Set-Meta", 'id_format="a:%(c-a)s.b:%(c-b)s"')
    channels = channel("c-a", "1", "build-id"), channel("c-b", "7", "build-id")
    proxy.backend.script("/ids", lambda seen: held(STREAM, *channels, meta, link("/ids"), body="100%% %(own)I\n"))
    proxy.backend.script(
        "/vars", lambda seen: held(STREAM, channel("c-v", None, "var-subst"), ("Grip-Set-Meta", "n=joe"))
    )
    async with request(proxy, "/ids") as ids, request(proxy, "/vars") as variables:
        await ids.gets("100% own\n")
        await is_held(proxy, "/ids")
        await is_held(proxy, "/vars")
        await proxy.publish(
            chunk("c-a", "%I %%\n", "2", "1"), chunk("c-b", "%I\n", "8", "7"), chunk("c-v", "%(n)s 5%%")
        )
        await ids.gets("100% own\na:2.b:7 %\na:2.b:8\n")
        await variables.gets("joe 5%")


@pytest.mark.parametrize(
    ("name", "prev_id", "content", "body"),
    [
        ("bare", "1", "5 % of", "first"),
        ("no-prev-id", None, "%I", "first"),
        ("no-variable", "1", "%(nobody)s", "first"),
        ("id-in-own-body", "1", "fine", "%I"),
    ],
)
async def test_content_that_cannot_be_rendered_ends_the_stream(
    proxy: Proxy, name: str, prev_id: str | None, content: str, body: str
) -> None:
    path, topic = f"/render-{name}", f"render-{name}"
    meta = ("Grip-Set-Meta", f'id_format="%({topic})s"')
    proxy.backend.script(
        path, lambda seen: held(STREAM, channel(topic, prev_id, "build-id"), meta, link(path), body=body)
    )
    async with request(proxy, path) as client:
        await is_held(proxy, path)
        await proxy.publish(chunk(topic, content, "2", "1"))
        await client.ends()
    assert client.text == ("" if "%" in body else body)


async def test_content_that_counts_on_other_filters_ends_the_stream(proxy: Proxy) -> None:
    proxy.backend.script("/counted", lambda seen: held(STREAM, channel("counted", None, "var-subst"), body="x"))
    async with request(proxy, "/counted") as client:
        await is_held(proxy, "/counted")
        formats = [{"http-stream": {"content": name, "content-filters": [name]}} for name in ("var-subst", "build-id")]
        await proxy.publish(*[item("counted", each) for each in formats])
        await client.ends()
    assert client.text == "xvar-subst"


# --- order, gaps and links ---


async def test_an_item_waits_for_the_one_before_it_and_is_delivered_once(proxy: Proxy) -> None:
    proxy.backend.script("/order", lambda seen: held(STREAM, channel("order")))
    async with request(proxy, "/order") as client:
        await is_held(proxy, "/order")
        await proxy.publish(chunk("order", "1", "1"), chunk("order", "3", "3", "2"), chunk("order", "1", "1"))
        await client.gets("1")
        await proxy.publish(chunk("order", "2", "2", "1"), chunk("order", "4", "4", "3"))
        await client.gets("1234")


async def test_an_item_that_asks_for_no_order_does_not_wait(proxy: Proxy) -> None:
    proxy.backend.script("/no-order", lambda seen: held(STREAM, channel("no-order")))
    async with request(proxy, "/no-order") as client:
        await is_held(proxy, "/no-order")
        await proxy.publish(chunk("no-order", "1", "1"))
        await client.gets("1")
        await proxy.publish(chunk("no-order", "4", "4", "3", **{"no-seq": True}))
        await client.gets("14")


def recovering(topic: str, path: str, *, start: str = "5") -> Callable[[Seen], Reply]:
    """A backend whose link says what the client has missed, as far as it does not say so itself."""

    def script(seen: Seen) -> Reply:
        last = seen.values("grip-last")
        if not seen.query:
            return held(STREAM, channel(topic, start), link(f"{path}?more"), body="start\n")
        got = int(last[0].rpartition("=")[2]) if last else 0
        body = "".join(f"missed {number}\n" for number in range(got + 1, 10))
        return held(STREAM, channel(topic, "9"), link(f"{path}?more"), body=body)

    return script


@pytest.mark.parametrize("prev_id", ["8", None], ids=["another", "none"])
async def test_an_item_that_does_not_follow_has_the_link_asked_for_what_was_missed(
    proxy: Proxy, prev_id: str | None
) -> None:
    path = f"/gap-{prev_id}"
    proxy.backend.script(path, recovering(f"gap-{prev_id}", path))
    async with request(proxy, path, headers={"Cookie": "a=b"}) as client:
        await client.gets("start\n")
        await is_held(proxy, path)
        await proxy.publish(chunk(f"gap-{prev_id}", "lost", "9", prev_id))
        await client.gets("start\nmissed 6\nmissed 7\nmissed 8\nmissed 9\n")
        await proxy.publish(chunk(f"gap-{prev_id}", "ten", "10", "9"))
        await client.gets("start\nmissed 6\nmissed 7\nmissed 8\nmissed 9\nten")
    asked = proxy.backend.seen(path)[1]
    assert (asked.method, asked.query, asked.values("cookie")) == ("GET", b"more", [])
    assert asked.values("grip-last") == [f"gap-{prev_id}; last-id=5"]
    assert asked.values("host") == [f"127.0.0.1:{proxy.port}"]
    assert len(asked.values("grip-sig")) == 1


async def test_a_stream_that_begins_behind_others_of_its_channel_asks_at_once(proxy: Proxy) -> None:
    proxy.backend.script("/ahead", lambda seen: held(STREAM, channel("behind")))
    proxy.backend.script("/behind", recovering("behind", "/behind", start="8"))
    async with request(proxy, "/ahead") as ahead:
        await is_held(proxy, "/ahead")
        await proxy.publish(chunk("behind", "nine", "9", "8"))
        await ahead.gets("nine")
        async with request(proxy, "/behind") as client:
            await client.gets("start\nmissed 9\n")


async def test_a_previous_id_without_a_link_ends_the_stream(proxy: Proxy) -> None:
    proxy.backend.script("/no-link", lambda seen: held(STREAM, channel("no-link", "1"), body="all"))
    async with request(proxy, "/no-link") as client:
        await client.ends()
    assert (client.status, client.text) == (200, "all")


async def test_a_link_is_asked_after_silence_and_its_answer_says_how_to_go_on(proxy: Proxy) -> None:
    def script(seen: Seen) -> Reply:
        seconds = None if seen.query else 1
        return held(STREAM, channel("quiet", "1"), link("/quiet?q=a=b&c", seconds), body=f"<{seen.query.decode()}>")

    proxy.backend.script("/quiet", script)
    async with request(proxy, "/quiet") as client:
        await client.gets("<><q=a=b&c>")
        await proxy.publish(chunk("quiet", "on", "2", "1"))
        await client.gets("<><q=a=b&c>on")


async def test_a_hint_has_the_link_asked(proxy: Proxy) -> None:
    proxy.backend.script(
        "/hint", lambda seen: held(STREAM, channel("hint"), link("/hint?a"), body=f"<{seen.query.decode()}>")
    )
    proxy.backend.script("/hintless", lambda seen: held(STREAM, channel("hint"), body="<>"))
    async with request(proxy, "/hint") as client, request(proxy, "/hintless") as other:
        await is_held(proxy, "/hint")
        await is_held(proxy, "/hintless")
        await proxy.publish(item("hint", {"http-stream": {"action": "hint"}}))
        await client.gets("<><a>")
        await proxy.publish(chunk("hint", "on"))
        await client.gets("<><a>on")
        await other.gets("<>on")


async def test_a_response_may_come_in_parts(proxy: Proxy) -> None:
    def script(seen: Seen) -> Reply:
        part = int(seen.query or b"0")
        return held(*([link(f"?{part + 1}")] if part < 2 else []), body=f"part {part}\n")

    proxy.backend.script("/parts", script)
    async with request(proxy, "/parts") as client:
        await client.ends()
    assert client.text == "part 0\npart 1\npart 2\n"


async def test_a_link_that_fails_is_asked_again(proxy: Proxy) -> None:
    def script(seen: Seen) -> Reply:
        if not seen.query:
            return held(link("/failing?a"), body="begun")
        return held(body="x", status=500) if len(proxy.backend.seen("/failing")) < 3 else held(body=" ended")

    proxy.backend.script("/failing", script)
    async with request(proxy, "/failing") as client:
        await client.ends()
    assert client.text == "begun ended"


# --- requests that wait for their response ---


async def test_a_request_waits_for_the_response_that_is_published(proxy: Proxy) -> None:
    proxy.backend.script("/wait", lambda seen: held(RESPONSE, channel("wait"), ("X-Own", "1"), body="late", status=202))
    async with request(proxy, "/wait") as client:
        await is_held(proxy, "/wait")
        assert client.status == 0
        own = {"code": 201, "reason": "Made", "headers": {"content-type": "a/b", "X-New": "2", "Content-Length": "9"}}
        await proxy.publish(chunk("wait", "no"), item("wait", {"http-response": {**own, "body": "now"}}))
        await client.ends()
    assert (client.status, client.text, client.headers["content-length"]) == (201, "now", "3")
    assert (client.headers["content-type"], client.headers["x-own"], client.headers["x-new"]) == ("a/b", "1", "2")


async def test_several_headers_of_a_name_and_no_body_can_be_published(proxy: Proxy) -> None:
    proxy.backend.script("/empty", lambda seen: held(RESPONSE, channel("empty")))
    async with request(proxy, "/empty") as client:
        await is_held(proxy, "/empty")
        headers = [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]]
        await proxy.publish(item("empty", {"http-response": {"code": 204, "headers": headers, "body": ""}}))
        await client.ends()
    assert (client.status, client.text, "content-length" in client.headers) == (204, "", False)
    assert client.headers["set-cookie"] == "a=1, b=2"


async def test_filters_hold_for_waiting_requests_too(proxy: Proxy) -> None:
    filters = ("skip-users", "build-id")
    meta = ("Grip-Set-Meta", 'user=joe, id_format="at:%(wf)s"')
    proxy.backend.script("/wait-filters", lambda seen: held(RESPONSE, channel("wf", "1", *filters), meta))
    async with request(proxy, "/wait-filters") as client:
        await is_held(proxy, "/wait-filters")
        await proxy.publish(answer("wf", "no", "2", "1", meta={"skip_users": "joe"}), answer("wf", "%I", "3", "2"))
        await client.gets("at:3")


@pytest.mark.parametrize("why", ["gap", "hint"])
async def test_a_waiting_request_is_repeated_when_something_was_missed(proxy: Proxy, why: str) -> None:
    path, topic = f"/again-{why}", f"again-{why}"

    def script(seen: Seen) -> Reply:
        if len(proxy.backend.seen(path)) < 2:
            return held(RESPONSE, channel(topic, "5"))
        return held(body=f"{seen.method} {seen.body.decode()} {seen.values('grip-last')}")

    proxy.backend.script(path, script)
    hint = item(topic, {"http-response": {"action": "hint"}}, "6", "5")
    async with request(proxy, path, method="POST", content=b"asked", headers={"Cookie": "a=b"}) as client:
        await is_held(proxy, path)
        await proxy.publish(answer(topic, "lost", "9", "8") if why == "gap" else hint)
        await client.ends()
    last = {"gap": "5", "hint": "6"}[why]
    assert client.text == f"POST asked ['{topic}; last-id={last}']"
    assert proxy.backend.seen(path)[1].values("cookie") == ["a=b"]


async def test_a_repeated_request_may_be_held_again(proxy: Proxy) -> None:
    path = "/again"
    proxy.backend.script(path, lambda seen: held(RESPONSE, channel("again", str(len(proxy.backend.seen(path))))))
    async with request(proxy, path) as client:
        await is_held(proxy, path)
        await proxy.publish(answer("again", "lost", "9", "8"))
        await is_held(proxy, path, 2)
        await proxy.publish(answer("again", "got", "3", "2"))
        await client.gets("got")


# --- what is published, refused ---


@pytest.mark.parametrize(
    "formats",
    [
        {"http-stream": {}},
        {"http-stream": {"action": "odd"}},
        {"http-response": {"code": 200}},
        {"http-response": {"body": "x", "headers": [["A"]]}},
    ],
    ids=["empty stream", "odd action", "no body", "half a header"],
)
async def test_what_cannot_be_delivered_is_refused(proxy: Proxy, formats: Any) -> None:
    response = await proxy.post(json.dumps({"items": [item("refused", formats)]}).encode())
    assert (response.status_code, response.text[:14]) == (400, "Invalid format")


# --- the embedded proxy on its own ---


SCOPE = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"host", b"here")]}


class Line:
    """A client's line to a `Passage`: an ASGI server's receive and send, and a hub."""

    def __init__(self, app: Any, **limits: int) -> None:
        self.hub = Hub()
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[Any] = []
        self.passage = Passage(app, self.hub, Signer(KEY, "iss"), Limits(**limits))

    def start(self, *body: bytes, **scope: Any) -> asyncio.Future[None]:
        for number, content in enumerate(body or (b"",)):
            more = number + 1 < len(body)
            self.incoming.put_nowait({"type": "http.request", "body": content, "more_body": more})
        return asyncio.ensure_future(self.passage.run({**SCOPE, **scope}, self.incoming.get, self.send))

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def app_of(*replies: Reply, seen: list[Any] | None = None) -> Any:
    """An application that gives these responses, one to each request, and the last one to all others."""
    left = list(replies)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reply = left.pop(0) if len(left) > 1 else left[0]
        if seen is not None:
            seen.append(scope)
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.all_headers()})
        await send({"type": "http.response.body", "body": reply.body})

    return app


async def test_at_the_timeout_a_request_gets_its_own_response(monkeypatch: Any) -> None:
    monkeypatch.setattr("grip_consumers.embedded.instruct.MINIMUM_TIMEOUT", 0)
    timeout = ("Grip-Timeout", "0")
    line = Line(app_of(held(RESPONSE, channel("late"), timeout, body="late", status=203)))
    await asyncio.wait_for(line.start(), PATIENCE)
    assert (line.sent[0]["status"], line.body) == (203, b"late")
    assert dict(line.sent[0]["headers"])[b"content-length"] == b"4"
    line = Line(app_of(held(RESPONSE, channel("late"), timeout, ("Grip-Status", "304"))))
    await asyncio.wait_for(line.start(), PATIENCE)
    assert (line.sent[0]["status"], line.body) == (304, b"")
    assert line.hub._channels == {}


@pytest.mark.parametrize("mode", [STREAM, RESPONSE], ids=["stream", "response"])
async def test_a_client_that_leaves_is_unsubscribed_at_once(mode: tuple[str, str]) -> None:
    line = Line(app_of(held(mode, channel("a"), channel("b"))))
    running = line.start()
    await eventually(lambda: line.hub.subscribers("b") == 1)
    line.leave()
    await asyncio.wait_for(running, PATIENCE)
    assert line.hub._channels == {}


async def test_a_client_whose_line_breaks_is_unsubscribed() -> None:
    line = Line(app_of(held(STREAM, channel("a"), body="x")))

    async def broken(message: Any) -> None:
        if message.get("body") == b"more":
            raise OSError

    line.send = broken  # type: ignore[method-assign]
    running = line.start()
    await eventually(lambda: line.hub.subscribers("a") == 1)
    line.hub.publish(Item("a", stream=Chunk(b"more")))
    await asyncio.wait_for(running, PATIENCE)
    assert line.hub._channels == {}


async def test_what_is_not_held_passes_both_ways_as_it_comes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": more})

    line = Line(app)
    line.incoming.put_nowait({"type": "http.request", "body": b"a", "more_body": True})
    running = asyncio.ensure_future(line.passage.run(SCOPE, line.incoming.get, line.send))
    await eventually(lambda: line.body == b"A")
    line.incoming.put_nowait({"type": "http.request", "body": b"b", "more_body": False})
    await asyncio.wait_for(running, PATIENCE)
    assert [message.get("body") for message in line.sent] == [None, b"A", b"B"]


async def test_what_the_application_raises_is_the_servers_to_deal_with() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await Line(app).start()


async def test_work_behind_a_held_response_goes_on_and_its_failure_is_logged(caplog: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await app_of(held(STREAM, channel("a"), body="first"))(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"
        raise LookupError("behind")

    line = Line(app)
    running = line.start()
    await eventually(lambda: "after its response" in caplog.text)
    assert line.body == b"first"
    line.leave()
    await asyncio.wait_for(running, PATIENCE)


async def test_a_held_response_over_the_limit_is_answered_502() -> None:
    line = Line(app_of(held(STREAM, channel("a"), body="four")), response_bytes=3)
    await asyncio.wait_for(line.start(), PATIENCE)
    assert (line.sent[0]["status"], line.body.decode()) == BAD_GATEWAY


async def test_a_request_with_a_long_body_cannot_be_repeated() -> None:
    line = Line(app_of(held(RESPONSE, channel("a", "1"))), request_bytes=3)
    running = line.start(b"four")
    await eventually(lambda: line.hub.subscribers("a") == 1)
    line.hub.publish(Item("a", response=Answer(200, "", [], b""), id="9", prev_id="8"))
    await asyncio.wait_for(running, PATIENCE)
    assert (line.sent[0]["status"], line.body.decode()) == BAD_GATEWAY


async def test_a_link_elsewhere_is_not_asked(caplog: Any) -> None:
    seen: list[Any] = []
    line = Line(app_of(held(link("http://elsewhere/"), body="x"), seen=seen))
    await asyncio.wait_for(line.start(), PATIENCE)
    assert (line.body, len(seen)) == (b"x", 1)
    assert "expected a link to" in caplog.text


async def test_a_link_is_asked_six_times_at_most(monkeypatch: Any) -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("grip_consumers.embedded.passage._pause", pause)
    seen: list[Any] = []
    line = Line(app_of(held(link("/y?z"), body="x"), held(status=500), seen=seen))
    await asyncio.wait_for(line.start(), PATIENCE)
    assert waits == [1, 2, 4, 8, 16]
    assert [scope["raw_path"] + b"?" + scope["query_string"] for scope in seen[1:]] == [b"/y?z"] * 6
    assert line.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_link_is_resolved_against_the_address_of_the_request() -> None:
    seen: list[Any] = []
    line = Line(app_of(held(link("?next")), held(), seen=seen))
    scope = {"path": "/röot/x", "raw_path": b"/r%C3%B6ot/x", "root_path": "/röot", "query_string": b"first"}
    await asyncio.wait_for(line.start(**scope), PATIENCE)
    asked = seen[1]
    assert (asked["path"], asked["raw_path"], asked["root_path"]) == ("/röot/x", b"/r%C3%B6ot/x", "/röot")
    assert (asked["query_string"], asked["method"]) == (b"next", "GET")


async def test_a_slow_client_loses_what_does_not_fit_its_queue(caplog: Any) -> None:
    line = Line(app_of(held(STREAM, channel("a"))), queued_items=2)
    running = line.start()
    await eventually(lambda: line.hub.subscribers("a") == 1)
    for number in range(4):
        line.hub.publish(Item("a", stream=Chunk(b"%d" % number)))
    await eventually(lambda: line.body)
    assert line.body == b"01"
    assert caplog.text.count("is slow") == 2
    line.leave()
    await asyncio.wait_for(running, PATIENCE)


async def test_what_is_published_while_the_link_is_asked_goes_on_where_its_answer_ends() -> None:
    asked = asyncio.Event()
    answered = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        following = bool(scope.get("query_string"))
        if following:
            asked.set()
            await answered.wait()
        reply = held(STREAM, channel("a", "9" if following else "5"), link("?more"), body="6789" if following else "5")
        await app_of(reply)(scope, receive, send)

    line = Line(app)
    running = line.start()
    await eventually(lambda: line.hub.subscribers("a") == 1)
    line.hub.publish(Item("a", stream=Chunk(b"lost"), id="9", prev_id="8"))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    assert line.hub.last_id("a") is None
    for number, prev_id in (("8", "7"), ("10", "9"), ("11", "10")):
        line.hub.publish(Item("a", stream=Chunk(f" {number}".encode()), id=number, prev_id=prev_id, ordered=False))
    answered.set()
    await eventually(lambda: line.body == b"56789 10 11")
    line.leave()
    await asyncio.wait_for(running, PATIENCE)


def test_the_time_until_a_link_is_asked_begins_anew_when_all_channels_were_heard_of(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = _Clock(Instruct("stream", 200, [], b"", link="/", link_timeout=10), None)
    due = []
    for name in ("a", "b", "a", "a", "b"):
        now[0] += 1
        clock.sent(name, 2)
        due.append(clock.due)
    assert due == [10, 12, 12, 12, 15]


@pytest.mark.parametrize(("idle", "due"), [(True, 8), (False, 5)], ids=["idle", "interval"])
def test_only_an_idle_keep_alive_begins_anew_with_what_is_sent(monkeypatch: Any, idle: bool, due: int) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = _Clock(Instruct("stream", 200, [], b"", keep_alive_timeout=5, keep_alive_idle=idle), None)
    now[0] = 3
    clock.sent("a", 1)
    assert clock.due == due
    now[0] = 8
    assert (clock.keep_alive_is_due(), clock.due) == (True, 13)


@pytest.mark.parametrize(("mode", "status"), [(STREAM, 200), (RESPONSE, 503)], ids=["stream", "response"])
async def test_a_server_that_stops_ends_what_is_held(mode: tuple[str, str], status: int) -> None:
    line = Line(app_of(held(mode, channel("a"), body="x")))
    running = line.start()
    await eventually(lambda: line.hub.subscribers("a") == 1)
    running.cancel()
    await asyncio.wait_for(running, PATIENCE)
    assert line.sent[0]["status"] == status
    assert not line.sent[-1].get("more_body", False)
    assert line.hub._channels == {}
