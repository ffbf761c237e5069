"""The communicators of Channels and ours, given the same applications and the same script, tell the same story."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asgiref.testing
import channels.testing
import pytest

import grip_consumers.testing
from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.testing import HttpCommunicator, WebsocketCommunicator

Script = Callable[[Any], Awaitable[Any]]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Does what its path says, and tells what it got."""
    if scope["type"] == "http":
        message = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": repr(sorted(scope.items())).encode(), "more_body": True})
        await send({"type": "http.response.body", "body": message["body"]})
        return
    await receive()
    if scope["path"] == "/raise":
        raise LookupError("in connect")
    if scope["path"].startswith("/refuse"):
        await send({"type": "websocket.close", **({"code": 4001} if scope["path"] == "/refuse/4001" else {})})
        return
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x", b"y")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "fail":
            raise LookupError("in receive")
        if message.get("text") == "scope":
            await send({"type": "websocket.send", "text": repr(sorted(scope.items()))})
        elif message.get("text") != "silence":
            await send({**message, "type": "websocket.send"})
    if message["code"] == 4002:
        raise LookupError("in disconnect")


async def outcome(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except BaseException as error:
        return type(error).__name__, str(error)


def socket(path: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda package: package.WebsocketCommunicator(application, path, **options)


async def talk(package: Any) -> list[Any]:
    communicator = package.WebsocketCommunicator(application, "/a%20b/?q=%20", [(b"h", b"v")], ["a", "b"], "2.3")
    communicator.scope["user"] = "me"
    seen = [communicator.response_headers, await communicator.connect(), communicator.response_headers]
    await communicator.send_to(text_data="scope")
    seen.append(await communicator.receive_from())
    await communicator.send_to(bytes_data=b"\0")
    seen.append(await communicator.receive_from())
    await communicator.send_json_to({"a": [1, None]})
    seen += [await communicator.receive_nothing(0.02), await communicator.receive_json_from()]
    seen.append(await communicator.receive_nothing(0.02))
    return [*seen, await communicator.disconnect()]


async def misuse(package: Any) -> list[Any]:
    communicator = package.WebsocketCommunicator(application, "/")
    await communicator.connect()
    seen = [await outcome(communicator.send_to()), await outcome(communicator.send_to("a", b"a"))]
    seen += [await outcome(communicator.send_to(text_data=b"a")), await outcome(communicator.send_to(bytes_data="a"))]
    await communicator.send_to(bytes_data=b"{}")
    seen.append(await outcome(communicator.receive_json_from()))
    await communicator.output_queue.put({"type": "websocket.close"})
    seen.append(await outcome(communicator.receive_from()))
    for broken in ({"text": "a", "bytes": b"a"}, {"text": 1}, {"bytes": "a"}, {}):
        await communicator.output_queue.put({"type": "websocket.send", **broken})
        seen.append(await outcome(communicator.receive_from()))
    return [*seen, await outcome(communicator.disconnect(4002))]


async def failures(package: Any) -> list[Any]:
    seen = [await outcome(socket("/raise")(package).connect(0.05))]
    communicator = socket("/")(package)
    await communicator.connect()
    await communicator.send_to("fail")
    seen += [await outcome(communicator.receive_from(0.05)), await outcome(communicator.send_to("more"))]
    seen += [await outcome(communicator.receive_nothing()), await outcome(communicator.wait())]
    silent = socket("/")(package)
    await silent.connect()
    await silent.send_to("silence")
    return [*seen, await outcome(silent.receive_from(0.01))]


async def refusals(package: Any) -> list[Any]:
    seen = [await socket(path)(package).connect() for path in ("/refuse", "/refuse/4001")]
    try:
        socket(b"/")(package)
    except TypeError as error:
        seen.append(str(error))
    return seen


async def requests(package: Any) -> list[Any]:
    communicator = package.HttpCommunicator(application, "post", "/a%20b?c", b"body", [(b"h", b"v")])
    response = await communicator.get_response()
    bare = await package.HttpCommunicator(application, "GET", "/").get_response(timeout=1)
    try:
        package.HttpCommunicator(application, "GET", "/", "text")
    except AssertionError:
        return [response, bare, communicator.sent_request, "refused"]
    return [response, bare]


@pytest.mark.parametrize("script", [talk, misuse, failures, refusals, requests], ids=lambda script: script.__name__)
async def test_a_script_goes_as_with_the_reference(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    # The reference's stumbles when one that could not be made is collected.
    monkeypatch.setattr(asgiref.testing.ApplicationCommunicator, "_future", None, raising=False)
    assert await script(grip_consumers.testing) == await script(channels.testing)


async def test_what_is_sent_and_received_does_not_close_the_database_under_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from grip_consumers import db

    closed: list[bool] = []
    monkeypatch.setattr(db, "close_old_connections", lambda: closed.append(True))

    async def queries(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await db.aclose_old_connections()
        await send({"type": "done"})

    communicator = grip_consumers.testing.ApplicationCommunicator(queries, {"type": "x"})  # type: ignore[no-untyped-call]
    await communicator.send_input({"type": "begin"})
    assert await communicator.receive_output() == {"type": "done"}
    assert closed == []
    await asyncio.wait_for(communicator.future, 1)


def test_the_package_has_the_names_of_the_reference_and_more() -> None:
    assert set(channels.testing.__all__) < set(grip_consumers.testing.__all__)
    assert grip_consumers.testing.HttpCommunicator is HttpCommunicator
    assert {"WebsocketCommunicator", "GripCommunicator"} <= set(dir(grip_consumers.testing))
    assert WebsocketCommunicator.__module__ == "grip_consumers.testing.websocket"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = grip_consumers.testing.Nothing


async def test_consumers_within_a_test_talk_to_each_other_and_keep_nobody_from_sending(settings: Any) -> None:
    settings.GRIP_PROXIES = []

    class Member(AsyncWebsocketConsumer):
        groups = ["all"]

        async def said(self, event: dict[str, Any]) -> None:
            await self.send(event["text"])

    one, two = (WebsocketCommunicator(Member.as_asgi(), "/") for _ in range(2))
    assert [await one.connect(), await two.connect()] == [(True, None)] * 2
    await get_channel_layer().group_send("all", {"type": "said", "text": "a"})
    assert [await one.receive_from(), await two.receive_from()] == ["a", "a"]
    await one.disconnect()
    await two.disconnect()
