"""Applications and libraries from PyPI, with their own clients' frames, over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.clients import http_client
from tests.end_to_end.talking import PATIENCE
from tests.fleet import Target

Wanted = Callable[[Any], object]


def named(what: str) -> str:
    """A name that no other test uses."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def person(way: Target, name: str) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """Somebody who is signed in, and the number that the site knows them by."""
    async with http_client(base_url=way.url, timeout=PATIENCE) as client:
        answer = await client.get(f"/sign-in/{name}/")
        yield client, str(answer.json()["pk"])


@asynccontextmanager
async def socket(way: Target, path: str, client: httpx.AsyncClient | None = None) -> AsyncIterator[ClientConnection]:
    """A socket that the page of a person opens."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items()) if client else ""
    headers = {"Cookie": cookies} if cookies else {}
    url = f"{way.url.replace('http', 'ws', 1)}{path}"
    async with connect(
        url, origin=way.url, additional_headers=headers, proxy=None, compression=None, open_timeout=PATIENCE
    ) as connection:
        yield connection


async def ask(connection: ClientConnection, **frame: Any) -> None:
    await connection.send(json.dumps(frame))


async def heard(connection: ClientConnection, wanted: Wanted) -> Any:
    """The next frame that is wanted; what comes before it is passed over."""
    deadline = time.monotonic() + PATIENCE
    while True:
        frame = json.loads(await asyncio.wait_for(connection.recv(), deadline - time.monotonic()))
        if wanted(frame):
            return frame


def answers(request_id: Any) -> Wanted:
    return lambda frame: frame.get("request_id") == request_id


async def test_djangochannelsrestframework_creates_reads_changes_and_deletes(way: Target) -> None:
    async with socket(way, "/comments/") as connection:
        await ask(connection, action="create", request_id=1, data={"text": "first"})
        created = await heard(connection, answers(1))
        assert (created["response_status"], created["errors"], created["data"]["text"]) == (201, [], "first")
        pk = created["data"]["id"]
        await ask(connection, action="patch", request_id=2, pk=pk, data={"text": "second"})
        assert (await heard(connection, answers(2)))["data"] == {"id": pk, "text": "second"}
        await ask(connection, action="retrieve", request_id=3, pk=pk)
        assert (await heard(connection, answers(3)))["data"] == {"id": pk, "text": "second"}
        await ask(connection, action="list", request_id=4)
        assert {"id": pk, "text": "second"} in (await heard(connection, answers(4)))["data"]
        await ask(connection, action="delete", request_id=5, pk=pk)
        assert (await heard(connection, answers(5)))["response_status"] == 204
        await ask(connection, action="retrieve", request_id=6, pk=pk)
        assert (await heard(connection, answers(6)))["response_status"] == 404
        await ask(connection, action="create", request_id=7, data={})
        assert (await heard(connection, answers(7)))["response_status"] == 400


async def test_djangochannelsrestframework_observes_a_model_and_an_instance(way: Target) -> None:
    text = named("comment")
    async with (
        http_client(base_url=way.url, timeout=PATIENCE) as page,
        socket(way, "/comments/") as watching,
        socket(way, "/comments/") as writing,
    ):
        await ask(watching, action="subscribe_to_comment_activity", request_id="all")
        await ask(watching, action="list", request_id="subscribed")
        await heard(watching, answers("subscribed"))
        pk = (await page.get(f"/comment/{text}/")).json()["pk"]
        seen = await heard(watching, lambda frame: frame.get("comment") == {"id": pk, "text": text})
        assert (seen["request_id"], seen["seen"]) == ("all", "create")

        await ask(watching, action="subscribe_instance", request_id="one", pk=pk)
        assert (await heard(watching, answers("one")))["response_status"] == 201
        await ask(writing, action="patch", request_id=1, pk=pk, data={"text": f"{text}, again"})
        frames = [await heard(watching, lambda frame: text in json.dumps(frame)) for _ in range(2)]
        assert {frame["request_id"] for frame in frames} == {"all", "one"}

        await ask(watching, action="unsubscribe_from_comment_activity", request_id="all")
        await ask(writing, action="delete", request_id=2, pk=pk)
        gone = await heard(watching, lambda frame: frame.get("action") == "delete")
        assert (gone["request_id"], gone["data"]) == ("one", {"pk": pk})


async def test_django_private_chat2_carries_a_conversation(way: Target) -> None:
    # Its own numbers for the kinds of frames.
    online, text, read, gone, error, unread, saved = 1, 3, 6, 2, 7, 9, 8
    async with person(way, named("ann")) as (ann, ann_pk), person(way, named("bob")) as (bob, bob_pk):
        async with socket(way, "/chat_ws", ann) as of_ann:
            async with socket(way, "/chat_ws", bob) as of_bob:
                await ask(of_ann, msg_type=text, text="hello bob", user_pk=bob_pk, random_id=-7)
                got = await heard(of_bob, lambda frame: frame["msg_type"] == text)
                assert (got["text"], got["sender"], got["random_id"]) == ("hello bob", ann_pk, -7)
                number = (await heard(of_ann, lambda frame: frame["msg_type"] == saved))["db_id"]
                assert (await heard(of_bob, lambda frame: frame["msg_type"] == unread))["unread_count"] == 1
                await ask(of_bob, msg_type=read, user_pk=ann_pk, message_id=number)
                assert (await heard(of_ann, lambda frame: frame["msg_type"] == read))["message_id"] == number
                assert (await heard(of_bob, lambda frame: frame["msg_type"] == unread))["unread_count"] == 0
                await ask(of_bob, msg_type=text, text="", user_pk=ann_pk, random_id=-8)
                assert (await heard(of_bob, lambda frame: frame["msg_type"] == error))["error"][0] == 2
            assert (await heard(of_ann, lambda frame: frame["msg_type"] == gone))["user_pk"] == bob_pk
            async with socket(way, "/chat_ws", bob):
                assert (await heard(of_ann, lambda frame: frame["msg_type"] == online))["user_pk"] == bob_pk
        shown = (await bob.get(f"/chat/messages/{ann_pk}/")).json()["data"]
        assert [message["text"] for message in shown] == ["hello bob"]


async def test_django_channels_broadcast_notifies_everybody_and_one(way: Target) -> None:
    said = named("notice")
    async with (
        person(way, named("carl")) as (carl, _),
        person(way, named("dora")) as (dora, _),
        socket(way, "/asgi/notifications/", carl) as of_carl,
        socket(way, "/asgi/notifications/", dora) as of_dora,
    ):
        assert (await dora.get(f"/announce/{said}/")).json() == {"sent": True, "to_user": True}
        for connection, texts in ((of_carl, [said]), (of_dora, [said, f"you: {said}"])):
            for expected in texts:
                await heard(connection, lambda frame, expected=expected: expected in json.dumps(frame))


async def test_turbo_django_streams_what_a_page_appends(way: Target) -> None:
    said = named("news")
    async with http_client(base_url=way.url, timeout=PATIENCE) as page:
        signed = (await page.get("/stream/")).json()["signed"]
        async with socket(way, "/turbo/") as connection:
            await ask(connection, type="subscribe", signed_channel_name=signed)
            frame = await first_heard(connection, lambda: page.get(f"/news/{said}/"))
            assert frame["signed_channel_name"] == signed
            assert 'action="append"' in frame["data"]
            assert said in frame["data"]


async def first_heard(connection: ClientConnection, say: Callable[[], Awaitable[object]]) -> Any:
    """The first frame after something is said again and again: a subscription that nothing confirms takes a moment."""
    deadline = time.monotonic() + PATIENCE
    receiving = asyncio.ensure_future(connection.recv())
    while not receiving.done() and time.monotonic() < deadline:
        await say()
        await asyncio.wait([receiving], timeout=0.25)
    if not receiving.done():
        receiving.cancel()
        raise TimeoutError("Nothing was heard of what was said.")
    return json.loads(receiving.result())
