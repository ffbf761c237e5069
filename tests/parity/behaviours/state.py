"""Attributes and scope: what a consumer keeps between messages."""

from __future__ import annotations

from ..client import Client
from . import behaviour


@behaviour(("journal", "client", [["disconnect", 1000, 2, {"texts": ["a", "bb"], "lengths": {"1": [1], "2": [2]}}]]))
async def attributes_live_from_connect_to_disconnect(client: Client) -> None:
    """Attributes set in connect(), and nested ones changed in place, are there in disconnect()."""
    async with client.socket("/ws/counter/") as peer:
        for text in ("a", "bb"):
            await peer.send(text)
            await peer.receive()
        await peer.close()
        await client.journal(until="disconnect")


@behaviour(("journal", "client", [["disconnect", 4000, 1, {"texts": ["one"], "lengths": {"3": [1]}}]]))
async def attributes_live_in_an_async_consumer(client: Client) -> None:
    """The same in an async consumer, closed with a code of its client's."""
    async with client.socket("/ws/async-counter/") as peer:
        await peer.send("one")
        await peer.receive()
        await peer.close(4000, "bye")
        await client.journal(until="disconnect")


@behaviour(("journal", "client", [["disconnect", 1000, 30, None]]))
async def a_burst_counts_every_message(client: Client) -> None:
    """Messages that come at once see each other's changes."""
    async with client.socket("/ws/counter/") as peer:
        await peer.send(*["x"] * 30)
        last = [await peer.unrecorded() for _ in range(30)]
        client.record("counted", [entry[0] for entry in last])
        await peer.close()
        await client.journal(until="disconnect")
        client.transcript[-1][-1][0][-1] = None


@behaviour(("text", "b", '[1, {"texts": ["from b"], "lengths": {"6": [1]}}]'))
async def attributes_belong_to_one_connection(client: Client) -> None:
    """Two connections of one consumer class do not see each other's attributes."""
    async with client.socket("/ws/counter/", "a") as a, client.socket("/ws/counter/", "b") as b:
        await a.send("from a", "again a")
        await a.receive(2)
        await b.send("from b")
        await b.receive()
        await a.send("third a")
        await a.receive()
        await a.close()
        await b.close()


@behaviour(("text", "client", "made"), ("journal", "client", [["disconnect", False]]))
async def attributes_may_come_and_go(client: Client) -> None:
    """Attributes made after connect stay, deleted ones are gone."""
    async with client.socket("/ws/late/") as peer:
        for text in ("look", "make", "look", "delete", "look"):
            await peer.send(text)
            await peer.receive()
        await peer.close()
        await client.journal(until="disconnect")


@behaviour(("text", "client", "hello 2"))
async def arguments_of_as_asgi_reach_the_consumer(client: Client) -> None:
    """as_asgi(greeting=…) reaches `__init__`, whose attributes live as long as the connection."""
    async with client.socket("/ws/init/") as peer:
        await peer.send("one", "two")
        await peer.receive(2)
        await peer.close()


@behaviour(("text", "a", "2 site.actions"), ("text", "b", "told by one who counted 2: 0"))
async def attributes_may_refer_to_methods_loggers_and_layers(client: Client) -> None:
    """A table of the consumer's own methods, a logger and the layer, made by `__init__`, serve as long as it does."""
    path = f"/ws/actions/{client.run}/"
    async with client.socket(path, "a") as a, client.socket(path, "b") as b:
        for text in ("count", "count", "tell"):
            await a.send(text)
            await a.receive()
        await a.send("all")
        await a.receive()
        await b.receive()
        await a.close()
        await b.close()


@behaviour(("text", "client", "two True"), ("text", "client", "/ws/scope-names/ /ws/scope-names/ False"))
async def the_scope_may_be_an_attribute(client: Client) -> None:
    """The scope under another name is the scope; within something else, or copied, it is kept by value."""
    async with client.socket("/ws/scope-names/") as peer:
        for text in ("one", "two"):
            await peer.send(text)
            await peer.receive(2)
        await peer.close()


@behaviour(("text", "client", "first x site.actions"), ("text", "client", "later z"))
async def a_callback_kept_as_an_attribute_may_change(client: Client) -> None:
    """An attribute that is a method of the consumer is called, and replaced by another."""
    async with client.socket("/ws/async-actions/") as peer:
        for text in ("x", "y", "z"):
            await peer.send(text)
            await peer.receive()
        await peer.close()


@behaviour(("text", "client", "tuple: (1, 'two')"), ("text", "client", "set: {3}"))
async def attributes_keep_their_types(client: Client) -> None:
    """Tuples, sets, bytes, dates, decimals, UUIDs, dataclasses and model instances come back as they were."""
    await client.get("/login/ada/")
    async with client.socket("/ws/types/") as peer:
        for _ in range(2):
            await peer.send("list")
            await peer.receive(12)
        await peer.close()


@behaviour(("text", "client", '["connect", "one", "two"]'))
async def what_a_consumer_puts_into_its_scope_stays(client: Client) -> None:
    """The scope lives as long as the connection, changes in place included."""
    async with client.socket("/ws/scope-keeper/") as peer:
        for text in ("one", "two"):
            await peer.send(text)
            await peer.receive()
        await peer.close()
