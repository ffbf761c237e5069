"""Groups and channel names: who gets what, in which order."""

from __future__ import annotations

import contextlib

from ..client import Client
from . import behaviour


async def _relay(client: Client, kind: str) -> None:
    room = client.room("r")
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(client.socket(f"/ws/{kind}/{room}/", name)) for name in "abc"]
        stranger = await stack.enter_async_context(client.socket(f"/ws/{kind}/{room}x/", "stranger"))
        for number in range(5):
            await members[number % 2].send_json({"message": f"message {number}"})
            for member in members:
                await member.receive()
        await stranger.send_json({"message": "alone"})
        await stranger.receive()
        await client.silence(*members, stranger)
        for member in members:
            await member.close(4000 + members.index(member))
            await client.journal(member.name, until="left")


@behaviour(("text", "a", '{"message": "message 4"}'), ("journal", "b", [["left", "chat_r-RUN", 4001]]))
async def a_room_relays_to_all_in_order(client: Client) -> None:
    """The tutorial's sync consumer: every member gets every message once, the sender too, others none."""
    await _relay(client, "room")


@behaviour(("text", "c", '{"message": "message 4"}'), ("journal", "b", [["left", "chat_r-RUN", 4001]]))
async def an_async_room_relays_to_all_in_order(client: Client) -> None:
    """The tutorial's async consumer, the same."""
    await _relay(client, "async-room")


@behaviour(("text", "a", '{"message": "29"}'))
async def a_burst_into_a_room_stays_in_order(client: Client) -> None:
    """Thirty messages sent at once reach sender and others completely and in order."""
    room = client.room("r")
    async with client.socket(f"/ws/room/{room}/", "a") as a, client.socket(f"/ws/room/{room}/", "b") as b:
        for number in range(30):
            await a.send_json({"message": str(number)})
        await a.receive(30)
        await b.receive(30)
        await a.close()
        await b.close()


@behaviour(("text", "sync", '{"message": "from async"}'), ("text", "async", '{"message": "from sync"}'))
async def consumers_of_two_classes_share_a_group(client: Client) -> None:
    """A group belongs to no class: members of both classes get what either sends."""
    room = client.room("r")
    sync, other = (
        client.socket(f"/ws/room/{room}/", "sync"),
        client.socket(f"/ws/async-room/{room}/", "async"),
    )
    async with sync as first, other as second:
        await first.send_json({"message": "from sync"})
        await first.receive()
        await second.receive()
        await second.send_json({"message": "from async"})
        await first.receive()
        await second.receive()
        await first.close()
        await second.close()


@behaviour(("text", "variety", "helped x"), ("text", "other", "other x"))
async def each_class_renders_an_event_its_own_way(client: Client) -> None:
    """One event, two consumer classes, two texts."""
    room = client.room("v")
    mine, others = (
        client.socket(f"/ws/variety/{room}/", "variety"),
        client.socket(f"/ws/other/{room}/", "other"),
    )
    async with mine as variety, others as other:
        await variety.send_json({"type": "by.helper", "text": "x"})
        await variety.receive()
        await other.receive()
        await variety.close()
        await other.close()


@behaviour(("text", "a", "direct x"), ("text", "a", "first x"), ("text", "b", "second x"))
async def what_is_sent_directly_comes_before_the_group_copy(client: Client) -> None:
    """A handler's own send() overtakes the copies of what it sent to its group before."""
    room = client.room("o")
    async with (
        client.socket(f"/ws/ordered/{room}/", "a") as a,
        client.socket(f"/ws/ordered/{room}/", "b") as b,
    ):
        await a.send("x")
        await a.receive(3)
        await b.receive(2)
        await a.close()
        await b.close()


@behaviour(("text", "a", "news: one"), ("text", "b", "news: two"), ("journal", "a", [["disconnect", ["everyone"]]]))
async def the_groups_attribute_joins(client: Client) -> None:
    """A consumer joins the groups that its class names, and leaves them."""
    async with client.socket("/ws/class-groups/", "a") as a, client.socket("/ws/class-groups/", "b") as b:
        await a.send("one")
        await a.receive()
        await b.receive()
        await a.close()
        await client.journal("a", until="disconnect")
        await b.send("two")
        await b.receive()
        await b.close()


@behaviour(
    ("text", "a", '["told", "news-RUN", "two"]'),
    ("text", "b", '["told", "news-RUN", "three"]'),
    ("silence", "a", None),
)
async def groups_can_be_joined_and_left_later(client: Client) -> None:
    """group_add() and group_discard() in receive() work; adding twice gives one copy."""
    group = client.room("news")
    async with client.socket("/ws/join-leave/", "a") as a, client.socket("/ws/join-leave/", "b") as b:
        await b.send_json(["join", group])
        await b.receive()
        await a.send_json(["say", group, "one"])
        await a.receive()
        await b.receive()
        await a.send_json(["join", group])
        await a.send_json(["join", group])
        await a.receive(2)
        await a.send_json(["say", group, "two"])
        await a.receive(2)
        await b.receive()
        await a.send_json(["leave", group])
        await a.receive()
        await a.send_json(["say", group, "three"])
        await a.receive()
        await b.receive()
        await client.silence(a)
        await a.close()
        await b.close()


@behaviour(("text", "a", '["told", "twelve-RUN", "in twelve"]'))
async def a_connection_may_be_in_many_groups(client: Client) -> None:
    """Twelve groups at once, each reaching its member."""
    names = [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
    async with client.socket("/ws/join-leave/", "a") as a, client.socket("/ws/join-leave/", "b") as b:
        for name in names:
            await a.send_json(["join", client.room(name)])
            await a.receive()
        for name in names:
            await b.send_json(["say", client.room(name), f"in {name}"])
            await b.receive()
            await a.receive()
        await a.close()
        await b.close()


@behaviour(
    ("text", "b", "part 2"),
    ("bytes", "b", b"\x00\x01\xff"),
    ("text", "b", "text!"),
    ("text", "b", "helped you"),
)
async def group_handlers_may_send_what_they_like(client: Client) -> None:
    """Several frames, bytes, nothing, a changed event, through a helper: what a handler sends, members get."""
    room = client.room("v")
    async with (
        client.socket(f"/ws/variety/{room}/", "a") as a,
        client.socket(f"/ws/variety/{room}/", "b") as b,
    ):
        await a.send_json({"type": "several", "count": 3})
        for peer in (a, b):
            await peer.receive(3)
        await a.send_json({"type": "binary", "values": [0, 1, 255]})
        await a.send_json({"type": "silent"})
        await a.send_json({"type": "changing", "text": "text"})
        await a.send_json({"type": "by.helper", "text": "you"})
        for peer in (a, b):
            await peer.receive(3)
        await a.close()
        await b.close()


@behaviour(("text", "b", "goodbye"), ("closed", "b", 4007, ""), ("journal", "b", [["disconnect", 4007]]))
async def a_group_handler_may_close(client: Client) -> None:
    """A group handler that closes closes every member, with its code, after what it sent."""
    room = client.room("v")
    async with (
        client.socket(f"/ws/variety/{room}/", "a") as a,
        client.socket(f"/ws/variety/{room}/", "b") as b,
    ):
        await a.send_json({"type": "farewell", "code": 4007})
        await a.closed()
        await b.closed()
        await client.journal("a", until="disconnect")
        await client.journal("b", until="disconnect")


@behaviour(("text", "a", '{"message": "from a view"}'), ("text", "b", '{"message": "from an async view"}'))
async def views_send_to_groups(client: Client) -> None:
    """group_send() works from sync and async views."""
    room = client.room("r")
    async with (
        client.socket(f"/ws/room/{room}/", "a") as a,
        client.socket(f"/ws/async-room/{room}/", "b") as b,
    ):
        for view, text in (("announce", "from a view"), ("announce-async", "from an async view")):
            await client.post(f"/{view}/chat_{room}/", {"type": "chat.message", "message": text})
            await a.receive()
            await b.receive()
        await client.post("/announce/nobody-is-here/", {"type": "chat.message", "message": "lost"})
        await a.close()
        await b.close()


@behaviour(("text", "client", "sent"), ("text", "client", "back two"))
async def a_consumer_sends_to_its_own_channel(client: Client) -> None:
    """channel_layer.send(self.channel_name, …) is handled after the current handler."""
    async with client.socket("/ws/self-sender/") as peer:
        for text in ("one", "two"):
            await peer.send(text)
            await peer.receive(2)
        await peer.close()


@behaviour(("text", "b", '["letter", "psst"]'))
async def a_consumer_sends_to_another_channel(client: Client) -> None:
    """channel_layer.send() with the name of another connection reaches that one only."""
    async with client.socket("/ws/addressable/", "a") as a, client.socket("/ws/addressable/", "b") as b:
        await b.send_json(["name"])
        address = await b.unrecorded()
        client.record("shape of a channel name", "!" in address, len(address) < 100)
        await a.send_json(["to", address, "psst"])
        await a.receive()
        await b.receive()
        await client.silence(a)
        await a.close()
        await b.close()


@behaviour(
    ("text", "member", '{"message": "somebody connects"}'),
    ("text", "member", '{"message": "somebody leaves with 4001"}'),
)
async def a_stranger_may_send_to_a_group(client: Client) -> None:
    """group_send() in connect(), receive() and disconnect() by a consumer that is no member."""
    room = client.room("r")
    async with client.socket(f"/ws/room/{room}/", "member") as member:
        async with client.socket(f"/ws/relay/{room}/", "relay") as relay:
            await member.receive()
            await relay.send("passed on")
            await relay.receive()
            await member.receive()
            await relay.close(4001)
            await member.receive()
        await member.close()


@behaviour(("text", "b", '{"message": "still here"}'))
async def who_left_gets_nothing_and_others_go_on(client: Client) -> None:
    """After a member closed or vanished, the room goes on for the others."""
    room = client.room("r")
    path = f"/ws/room/{room}/"
    async with client.socket(path, "a") as a, client.socket(path, "b") as b, client.socket(path, "c") as c:
        await a.close()
        c.vanish()
        await client.journal("a", until="left")
        await b.send_json({"message": "still here"})
        await b.receive()
        await client.silence(b)
        await b.close()


@behaviour(("text", "ada", "ada joined"), ("text", "ada", "bob joined"), ("text", "ada", "bob left"))
async def a_room_is_told_who_comes_and_goes(client: Client) -> None:
    """group_send() in connect() before accept() reaches the joiner too; in disconnect() it reaches the others."""
    path = f"/ws/presence/{client.room('r')}/"
    async with client.socket(f"{path}?ada", "ada") as ada:
        await ada.receive(2)
        async with client.socket(f"{path}?bob", "bob") as bob:
            await bob.receive(2)
            await ada.receive()
            await bob.send("hello")
            await bob.receive()
            await ada.receive()
            await bob.close()
        await ada.receive()
        async with client.socket(f"{path}?eve", "eve") as eve:
            await eve.receive(2)
            await ada.receive()
            await eve.send("leave")
            await eve.closed()
            await ada.receive(2)
        await client.silence(ada)
        await ada.close()
