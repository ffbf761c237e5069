"""The same stories through the embedded proxy and a real Pushpin: backend and client must see the same."""

from __future__ import annotations

import asyncio
import threading
import time

import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.clients import http_client

from .rig import (
    KEY,
    OPEN,
    PATIENCE,
    SILENCE,
    Proxy,
    Reply,
    close,
    control,
    event,
    eventually,
    item,
    nothing_more,
    receive,
    text,
)


async def closing(client: ClientConnection) -> tuple[int, str] | None:
    """Return code and reason of the close frame that ends the connection, or None if there is none."""
    await asyncio.wait_for(client.wait_closed(), PATIENCE)
    frame = client.protocol.close_rcvd
    return None if frame is None else (frame.code, frame.reason)


async def subscribed(proxy: Proxy, client: ClientConnection, channel: str) -> None:
    """Return when the client gets what is published to `channel`, a little after the response."""
    for number in range(40):
        probe = f"probe {number} {channel}"
        await proxy.publish(item(channel, probe))
        if await got(client, probe):
            return
    raise AssertionError(f"No subscription to {channel}.")


async def unsubscribed(proxy: Proxy, client: ClientConnection, channel: str) -> None:
    """Return when the client no longer gets what is published to `channel`."""
    for number in range(20):
        await proxy.publish(item(channel, f"probe {number}"))
        if not await got(client, f"probe {number}"):
            return
    raise AssertionError(f"Still a subscription to {channel}.")


async def got(client: ClientConnection, message: str) -> bool:
    """Whether `message` arrives within SILENCE seconds; what comes before it is thrown away."""
    try:
        while await asyncio.wait_for(client.recv(), SILENCE) != message:
            pass
    except asyncio.TimeoutError:
        return False
    return True


async def bodies(proxy: Proxy, path: str, count: int) -> list[bytes]:
    """Return the bodies of the requests to `path` once there are `count`."""
    await eventually(lambda: len(proxy.backend.bodies(path)) >= count, f"{count} requests to {path}")
    return proxy.backend.bodies(path)


async def test_the_first_request_repeats_the_handshake_and_adds_what_belongs_to_the_proxy(
    proxy: Proxy,
) -> None:
    proxy.backend.accept("/first")
    sent = {
        "Cookie": "a=b",
        "Meta-user": "evil",
        "Connection-Id": "evil",
        "Grip-Sig": "evil",
        "Accept": "text/html",
    }
    async with connect(f"{proxy.ws_url}/first?q=1", additional_headers=sent, origin="http://here"):
        (seen,) = proxy.backend.seen("/first")
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/first", b"q=1", b"OPEN\r\n")
    assert seen.values("cookie") == ["a=b"]
    assert seen.values("origin") == ["http://here"]
    assert seen.values("host") == [f"127.0.0.1:{proxy.port}"]
    assert seen.values("meta-user") == []
    assert seen.values("accept") == ["application/websocket-events"]
    assert seen.values("content-type") == ["application/websocket-events"]
    assert seen.values("sec-websocket-extensions") == ["grip"]
    assert len(seen.values("connection-id")[0]) == 36
    assert not {"upgrade", "connection"} & set(seen.names())
    assert seen.values("grip-feature")[0].startswith("status, session, link:next, filter:skip-self")
    tail = ["sec-websocket-extensions", "grip-sig", "grip-feature", "accept", "connection-id", "content-type"]
    assert seen.names()[-7:] == [*tail, "content-length"]


async def test_every_request_names_the_same_connection_and_is_signed_for_an_hour(proxy: Proxy) -> None:
    proxy.backend.accept("/signed", then=lambda seen: Reply(text("ok")))
    async with connect(f"{proxy.ws_url}/signed") as client:
        await client.send("x")
        await receive(client, 1)
    first, second = proxy.backend.seen("/signed")[:2]
    assert first.values("connection-id") == second.values("connection-id")
    (token,) = second.values("grip-sig")
    claims = jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_iss": False})
    assert claims["iss"] in {"pushpin", "grip_consumers.embedded"}
    assert 3500 < claims["exp"] - time.time() <= 3600


async def test_text_and_binary_travel_both_ways(proxy: Proxy) -> None:
    proxy.backend.accept("/both", then=lambda seen: Reply(text("é") + event("BINARY", b"m:\x00\xff")))
    async with connect(f"{proxy.ws_url}/both") as client:
        await client.send("ä")
        assert await receive(client, 2) == ["é", b"\x00\xff"]
        await client.send(b"\x00" * 10)
        await receive(client, 2)
    assert proxy.backend.bodies("/both")[1:3] == [event("TEXT", "ä"), event("BINARY", b"\x00" * 10)]


async def test_messages_during_a_request_come_together_in_the_next_and_publishes_do_not_wait(
    proxy: Proxy,
) -> None:
    gate = threading.Event()

    async def hold(seen: object) -> Reply:
        body = getattr(seen, "body", b"")
        if body == event("TEXT", "first"):
            await asyncio.to_thread(gate.wait, PATIENCE)
        return Reply(text(f"to {len(body)}"))

    proxy.backend.accept("/batch", control("subscribe", channel="batch"), then=hold)
    async with connect(f"{proxy.ws_url}/batch") as client:
        await subscribed(proxy, client, "batch")
        await client.send("first")
        await bodies(proxy, "/batch", 2)
        for message in ("second", b"third", "fourth"):
            await client.send(message)
        await proxy.publish(item("batch", "published"))
        assert await receive(client, 1) == ["published"]
        assert len(proxy.backend.bodies("/batch")) == 2
        gate.set()
        assert len(await receive(client, 2)) == 2
        together = event("TEXT", "second") + event("BINARY", b"third") + event("TEXT", "fourth")
        assert proxy.backend.bodies("/batch")[2] == together


async def test_meta_that_a_response_sets_comes_back_until_it_is_emptied_and_the_client_sees_none(
    proxy: Proxy,
) -> None:
    def script(seen: object) -> Reply:
        emptied = [("Set-Meta-Color", "")] if getattr(seen, "body", b"") == event("TEXT", "clear") else []
        return Reply(text("ok"), headers=emptied)

    first = [("Set-Meta-Color", "blue"), ("Set-Meta-size", "5")]
    proxy.backend.accept("/meta", then=script, headers=first)
    async with connect(f"{proxy.ws_url}/meta") as client:
        assert client.response is not None
        assert not [name for name in client.response.headers if "meta" in name.lower()]
        for message in ("one", "clear", "two"):
            await client.send(message)
            await receive(client, 1)
    values = [seen.values("meta-color") + seen.values("meta-size") for seen in proxy.backend.seen("/meta")[:4]]
    assert values == [[], ["blue", "5"], ["blue", "5"], ["5"]]


async def test_the_client_sees_the_accepting_responses_headers_and_subprotocol(proxy: Proxy) -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Own", "y"),
        ("Sec-WebSocket-Protocol", "two"),
    ]
    proxy.backend.accept("/accept", headers=headers)
    async with connect(f"{proxy.ws_url}/accept", subprotocols=["one", "two"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "two"
        assert client.response is not None
        assert client.response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
        assert client.response.headers["X-Own"] == "y"
        assert "Content-Type" not in client.response.headers
        # Compression is between the client and the ASGI server that the embedded proxy runs in.
        assert "grip" not in client.response.headers.get("Sec-WebSocket-Extensions", "")
    (seen, *_) = proxy.backend.seen("/accept")
    assert seen.values("sec-websocket-protocol") == ["one, two"]


async def test_a_backend_that_selects_no_subprotocol_leaves_the_client_without_one(proxy: Proxy) -> None:
    proxy.backend.accept("/without")
    async with connect(f"{proxy.ws_url}/without", subprotocols=["one"]) as client:  # type: ignore[list-item]
        assert client.subprotocol is None


async def test_a_rejection_shows_the_client_status_headers_and_body(proxy: Proxy) -> None:
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "c=d")]
    proxy.backend.script("/no", lambda seen: Reply(b"not you", headers, status=401, plain=True))
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{proxy.ws_url}/no")
    response = caught.value.response
    assert (response.status_code, bytes(response.body)) == (401, b"not you")
    assert response.headers["Set-Cookie"] == "c=d"


BROKEN_FIRST_RESPONSES = {
    "empty": Reply(),
    "no-open": Reply(text("x")),
    "close-only": Reply(close(4000)),
    "garbage": Reply(b"OPEN\r\nfoo"),
}


@pytest.mark.parametrize("name", BROKEN_FIRST_RESPONSES)
async def test_a_first_response_that_does_not_open_is_a_bad_gateway(proxy: Proxy, name: str) -> None:
    proxy.backend.script(f"/broken-{name}", lambda seen: BROKEN_FIRST_RESPONSES[name])
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{proxy.ws_url}/broken-{name}")
    assert caught.value.response.status_code == 502
    assert bytes(caught.value.response.body) == b"Error while proxying to origin.\n"


@pytest.mark.parametrize("content_type", ["text/plain", "application/websocket-events; charset=utf-8"])
async def test_a_200_of_another_type_on_the_first_batch_is_shown_to_the_client(proxy: Proxy, content_type: str) -> None:
    reply = Reply(OPEN, [("Content-Type", content_type)], plain=True)
    proxy.backend.script("/other-type", lambda seen: reply)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{proxy.ws_url}/other-type")
    assert caught.value.response.status_code == 200
    assert bytes(caught.value.response.body) == OPEN


BROKEN_LATER_RESPONSES = {
    "error": Reply(b"err", status=500, plain=True),
    "charset": Reply(text("x"), [("Content-Type", "application/websocket-events; charset=utf-8")], plain=True),
    "open": Reply(OPEN + text("x")),
    "disconnect": Reply(text("x") + event("DISCONNECT")),
}


@pytest.mark.parametrize("name", BROKEN_LATER_RESPONSES)
async def test_a_broken_later_response_drops_the_client_without_a_close_frame(proxy: Proxy, name: str) -> None:
    path = f"/later-{name}"
    proxy.backend.accept(path, then=lambda seen: BROKEN_LATER_RESPONSES[name])
    async with connect(f"{proxy.ws_url}{path}") as client:
        await client.send("go")
        assert await closing(client) is None
    assert proxy.backend.bodies(path) == [OPEN, event("TEXT", "go")]


async def test_a_closing_response_closes_with_its_code_and_the_backend_hears_the_clients_answer(
    proxy: Proxy,
) -> None:
    proxy.backend.accept("/bye", then=lambda seen: Reply(text("last") + close(4001, "why") + text("late")))
    async with connect(f"{proxy.ws_url}/bye") as client:
        await client.send("go")
        assert await receive(client, 1) == ["last"]
        assert await closing(client) == (4001, "why")
    assert await bodies(proxy, "/bye", 3) == [OPEN, event("TEXT", "go"), close(4001, "why")]


async def test_accept_message_and_close_in_one_response_all_reach_the_client(proxy: Proxy) -> None:
    proxy.backend.accept("/brief", text("hi"), close(4003, "r"))
    async with connect(f"{proxy.ws_url}/brief") as client:
        assert await receive(client, 1) == ["hi"]
        assert await closing(client) == (4003, "r")
    assert await bodies(proxy, "/brief", 2) == [OPEN, close(4003, "r")]


async def test_a_close_without_content_closes_with_1000(proxy: Proxy) -> None:
    proxy.backend.accept("/plain-close", then=lambda seen: Reply(event("CLOSE")))
    async with connect(f"{proxy.ws_url}/plain-close") as client:
        await client.send("go")
        assert await closing(client) == (1000, "")
    assert (await bodies(proxy, "/plain-close", 3))[2] == close(1000)


async def test_the_clients_close_reaches_the_backend_with_code_and_reason(proxy: Proxy) -> None:
    proxy.backend.accept("/leave", then=lambda seen: Reply(seen.body))
    async with connect(f"{proxy.ws_url}/leave") as client:
        await client.close(4002, "bye now")
        assert client.close_code == 4002
    assert await bodies(proxy, "/leave", 2) == [OPEN, close(4002, "bye now")]


async def test_a_close_without_a_code_reaches_the_backend_without_one(proxy: Proxy) -> None:
    proxy.backend.accept("/silent", then=lambda seen: Reply(seen.body))
    async with connect(f"{proxy.ws_url}/silent") as client:
        client.protocol.send_close()
        client.send_data()
        assert await bodies(proxy, "/silent", 2) == [OPEN, event("CLOSE")]


async def test_a_vanished_client_is_a_disconnect(proxy: Proxy) -> None:
    proxy.backend.accept("/vanish")
    client = await connect(f"{proxy.ws_url}/vanish")
    client.transport.abort()
    assert await bodies(proxy, "/vanish", 2) == [OPEN, event("DISCONNECT")]


async def test_published_messages_reach_subscribers_until_they_unsubscribe(proxy: Proxy) -> None:
    leave = Reply(control("unsubscribe", channel="news") + text("left"))
    proxy.backend.accept("/news", control("subscribe", channel="news"), text("in"), then=lambda seen: leave)
    async with connect(f"{proxy.ws_url}/news") as client:
        await receive(client, 1)
        await subscribed(proxy, client, "news")
        await proxy.publish(item("news", "one"), item("news", **{"content-bin": "AAH/"}), item("other", "no"))
        assert await receive(client, 2) == ["one", b"\x00\x01\xff"]
        await client.send("leave")
        assert await receive(client, 1) == ["left"]
        await unsubscribed(proxy, client, "news")


async def test_a_second_subscription_to_a_channel_does_not_double_messages(proxy: Proxy) -> None:
    proxy.backend.accept("/twice", *[control("subscribe", channel="twice")] * 2, text("in"))
    async with connect(f"{proxy.ws_url}/twice") as client:
        await receive(client, 1)
        await subscribed(proxy, client, "twice")
        await proxy.publish(item("twice", "a"), item("twice", "b"))
        assert await receive(client, 2) == ["a", "b"]


async def test_filters_compare_the_user_set_in_the_same_response(proxy: Proxy) -> None:
    def member(user: str, *filters: str) -> tuple[bytes, ...]:
        subscription = control("subscribe", channel="filtered", filters=list(filters))
        return subscription, control("set-meta", name="user", value=user), text("in")

    proxy.backend.accept("/u1", *member("u1", "skip-users"))
    proxy.backend.accept("/u2", *member("u2", "skip-users", "skip-self"))
    proxy.backend.accept("/u3", *member("u3"))
    clients = [await connect(f"{proxy.ws_url}/{name}") for name in ("u1", "u2", "u3")]
    for client in clients:
        await receive(client, 1)
        await subscribed(proxy, client, "filtered")
    # Each client has seen the probes of the later ones, too.
    await proxy.publish(item("filtered", "start"))
    for client in clients:
        assert await got(client, "start")
    await proxy.publish(
        item("filtered", "not listed", meta={"skip_users": "u9, u1 ,u2,u3"}),
        item("filtered", "not u2", meta={"sender": "u2"}),
        item("filtered", "all", meta={"skip_users": "x"}),
    )
    received = [await receive(client, count) for client, count in zip(clients, (2, 1, 3), strict=True)]
    assert received == [["not u2", "all"], ["all"], ["not listed", "not u2", "all"]]
    for client in clients:
        await client.close()


async def test_a_connection_has_at_most_twenty_channels_and_leaving_one_makes_room(proxy: Proxy) -> None:
    subscriptions = [control("subscribe", channel=f"many-{number}") for number in range(22)]
    swap = control("unsubscribe", channel="many-0") + control("subscribe", channel="many-21") + text("swapped")
    proxy.backend.accept("/many", *subscriptions, text("in"), then=lambda seen: Reply(swap))
    everywhere = [item(f"many-{number}", str(number)) for number in range(22)]
    async with connect(f"{proxy.ws_url}/many") as client:
        await receive(client, 1)
        await subscribed(proxy, client, "many-19")
        await proxy.publish(*everywhere)
        assert await receive(client, 20) == [str(number) for number in range(20)]
        await client.send("go")
        await receive(client, 1)
        await subscribed(proxy, client, "many-21")
        await proxy.publish(*everywhere)
        assert await receive(client, 20) == [*(str(number) for number in range(1, 20)), "21"]


async def test_an_item_with_a_known_id_is_delivered_once_on_each_channel(proxy: Proxy) -> None:
    subscriptions = control("subscribe", channel="ids"), control("subscribe", channel="ids-too")
    proxy.backend.accept("/ids", *subscriptions, text("in"))
    async with connect(f"{proxy.ws_url}/ids") as client:
        await receive(client, 1)
        await subscribed(proxy, client, "ids-too")
        unique = f"{proxy.name}-{time.time()}"
        await proxy.publish(item("ids", "a", id=unique), item("ids", "again", id=unique))
        await proxy.publish(item("ids", "third", id=unique), item("ids-too", "b", id=unique), item("ids", "end"))
        assert await receive(client, 3) == ["a", "b", "end"]


async def test_a_published_close_closes_with_its_code_and_the_backend_hears_none(proxy: Proxy) -> None:
    proxy.backend.accept("/kick", control("subscribe", channel="kick"), text("in"))
    async with connect(f"{proxy.ws_url}/kick") as client:
        await receive(client, 1)
        await subscribed(proxy, client, "kick")
        await proxy.publish(item("kick", action="close", code=4005, reason="out"))
        assert await closing(client) == (4005, "out")
    assert await bodies(proxy, "/kick", 2) == [OPEN, event("CLOSE")]


async def test_a_detached_client_hears_publishes_and_the_backend_hears_no_more_of_it(proxy: Proxy) -> None:
    detach = Reply(control("detach") + text("detached"))
    proxy.backend.accept("/detach", control("subscribe", channel="detach"), then=lambda seen: detach)
    async with connect(f"{proxy.ws_url}/detach") as client:
        await subscribed(proxy, client, "detach")
        await client.send("go")
        assert await receive(client, 1) == ["detached"]
        assert await bodies(proxy, "/detach", 3) == [OPEN, event("TEXT", "go"), event("CLOSE")]
        await client.send("unheard")
        await proxy.publish(item("detach", "published"))
        assert await receive(client, 1) == ["published"]
    await asyncio.sleep(SILENCE)
    assert len(proxy.backend.bodies("/detach")) == 3


async def test_delayed_messages_wait_until_they_are_flushed(proxy: Proxy) -> None:
    def delayed(content: str, timeout: float) -> bytes:
        return control("send-delayed", message_type="text", content=content, timeout=timeout)

    scripts = {
        event("TEXT", "two"): delayed("first", 30) + delayed("second", 30),
        event("TEXT", "flush"): control("flush-delayed") + text("flushed"),
    }
    proxy.backend.accept("/delayed", then=lambda seen: Reply(scripts.get(seen.body, b"")))
    async with connect(f"{proxy.ws_url}/delayed") as client:
        await client.send("two")
        assert await receive(client, 1) == ["first"]
        assert await nothing_more(client)
        await client.send("flush")
        assert sorted(map(str, await receive(client, 2))) == ["flushed", "second"]


async def test_keep_alive_messages_come_while_nothing_else_does(proxy: Proxy) -> None:
    keep_alive = control("keep-alive", message_type="text", content="still here", timeout=1)
    proxy.backend.accept("/keep-alive", keep_alive)
    async with connect(f"{proxy.ws_url}/keep-alive") as client:
        assert await receive(client, 1) == ["still here"]


async def test_pings_by_the_clock_come_back_as_requests(proxy: Proxy) -> None:
    at_intervals = control("keep-alive", message_type="ping", content="again", timeout=1, mode="interval")
    proxy.backend.accept("/at-intervals", at_intervals)
    proxy.backend.accept("/once", control("send-delayed", message_type="ping", content="once", timeout=1))
    async with connect(f"{proxy.ws_url}/at-intervals"), connect(f"{proxy.ws_url}/once"):
        await eventually(lambda: proxy.backend.bodies("/at-intervals")[1:3] == [event("PONG", "again")] * 2)
        await eventually(lambda: proxy.backend.bodies("/once")[1:] == [event("PONG", "once")])


async def test_malformed_control_messages_and_unprefixed_ones_are_dropped(proxy: Proxy) -> None:
    junk = [
        event("TEXT", "c:{"),
        event("TEXT", "c:[]"),
        control("subscribe"),
        control("nonsense"),
        event("TEXT", "x"),
    ]
    proxy.backend.accept("/junk", *junk, event("BINARY", b"x"), text("fine"))
    async with connect(f"{proxy.ws_url}/junk") as client:
        assert await receive(client, 1) == ["fine"]


async def test_without_the_extension_messages_go_through_as_they_are(proxy: Proxy) -> None:
    headers = [("Content-Type", "application/websocket-events")]
    reply = Reply(OPEN + event("TEXT", "m:a") + event("TEXT", "c:{}"), headers, plain=True)
    proxy.backend.script("/bare", lambda seen: reply if seen.body == OPEN else Reply())
    async with connect(f"{proxy.ws_url}/bare") as client:
        assert await receive(client, 2) == ["m:a", "c:{}"]


async def test_a_message_over_200000_bytes_drops_the_client_without_asking_the_backend(proxy: Proxy) -> None:
    proxy.backend.accept("/huge")
    async with connect(f"{proxy.ws_url}/huge") as client:
        await client.send("x" * 250_000)
        assert await closing(client) is None
    assert proxy.backend.bodies("/huge")[1:] in ([], [event("DISCONNECT")])


@pytest.mark.parametrize("content_type", ["application/websocket-events", "application/websocket-events; a=b"])
async def test_a_client_that_posts_events_itself_is_refused(proxy: Proxy, content_type: str) -> None:
    proxy.backend.script("/posted", lambda seen: Reply(OPEN))
    async with http_client() as client:
        headers = {"Content-Type": content_type}
        response = await client.post(f"{proxy.url}/posted", content=OPEN, headers=headers)
    assert response.status_code == 403
    assert response.text == "Client not allowed to send WebSocket events directly.\n"
    assert proxy.backend.seen("/posted") == []


async def test_ordinary_requests_reach_the_application(proxy: Proxy) -> None:
    proxy.backend.script("/page", lambda seen: Reply(b"page", [("X-Own", "1")], status=201, plain=True))
    async with http_client() as client:
        response = await client.put(f"{proxy.url}/page?a=b", content=b"body", headers={"X-Mine": "2"})
    assert (response.status_code, response.text, response.headers["X-Own"]) == (201, "page", "1")
    (seen,) = proxy.backend.seen("/page")
    assert (seen.method, seen.query, seen.body, seen.values("x-mine")) == ("PUT", b"a=b", b"body", ["2"])


BAD_PUBLISHES = {
    "no-json": b"garbage",
    "no-object": b"[]",
    "no-items": b"{}",
    "items-no-list": b'{"items": {}}',
    "no-channel": b'{"items": [{"formats": {"ws-message": {"content": "a"}}}]}',
    "channel-no-text": b'{"items": [{"channel": 5, "formats": {"ws-message": {"content": "a"}}}]}',
    "no-formats": b'{"items": [{"channel": "c"}]}',
    "empty-formats": b'{"items": [{"channel": "c", "formats": {}}]}',
    "no-content": b'{"items": [{"channel": "c", "formats": {"ws-message": {}}}]}',
    "content-no-text": b'{"items": [{"channel": "c", "formats": {"ws-message": {"content": 5}}}]}',
    "unknown-action": b'{"items": [{"channel": "c", "formats": {"ws-message": {"action": "dance"}}}]}',
    "id-no-text": b'{"items": [{"channel": "c", "formats": {"ws-message": {"content": "a"}}, "id": 5}]}',
    "meta-no-text": b'{"items": [{"channel": "c", "meta": {"x": 5}, "formats": {"ws-message": {}}}]}',
}


@pytest.mark.parametrize("name", BAD_PUBLISHES)
async def test_a_malformed_publish_is_answered_400(proxy: Proxy, name: str) -> None:
    assert (await proxy.post(BAD_PUBLISHES[name])).status_code == 400


async def test_a_publish_is_answered_published(proxy: Proxy) -> None:
    response = await proxy.post(b'{"items": []}')
    assert (response.status_code, response.text) == (200, "Published\n")
