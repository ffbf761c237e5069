"""Who a connection belongs to: users, sessions and model instances at group events and over time."""

from __future__ import annotations

from ..client import Client, Peer
from . import behaviour


async def _receive(*peers: Peer) -> None:
    for peer in peers:
        await peer.receive()


@behaviour(("text", "a", "call ada True"), ("text", "b", "call nobody False"), ("text", "a", "call nobody False"))
async def who_logs_in_over_the_socket_is_known_at_group_events(client: Client) -> None:
    """login() and logout() in a consumer hold for the group events and messages that follow."""
    path = f"/ws/guest/{client.room('g')}/"
    async with client.sockets(path, "a", "b") as (a, b):
        for verb in ("call", "login ada", "call", "user", "login bob", "call", "logout", "call", "user"):
            await a.send(verb)
            await a.receive()
            if verb == "call":
                await b.receive()
        await a.close()
        await b.close()


@behaviour(("http", 200, {"exists": True, "user": ["ada"]}), ("http", 200, {"exists": False, "user": []}))
async def a_session_of_a_login_over_the_socket_is_stored(client: Client) -> None:
    """login() with asave() makes a session that views find, and logout() ends it; the key stays over messages."""
    async with client.sockets(f"/ws/guest/{client.room('g')}/", "a") as (a,):
        await a.send("login ada")
        await a.receive()
        keys = []
        for _ in range(2):
            await a.send("key")
            keys.append(await a.unrecorded())
        client.record("keys", len(keys[0]), keys[0] == keys[1])
        await client.get(f"/session-of/{keys[0]}/")
        await a.send("logout")
        await a.receive()
        await client.get(f"/session-of/{keys[0]}/")
        await a.send("key")
        client.record("another key", await a.unrecorded() != keys[0])
        await a.send("user")
        await a.receive()
        await a.close()


@behaviour(("text", "a", "call ada True"), ("text", "a", "ada ada"), ("text", "late", "nobody nobody"))
async def a_logout_elsewhere_does_not_end_a_connection(client: Client) -> None:
    """The scope's user and session are those of connect(), though the session's row is gone."""
    await client.log_in("ada")
    async with client.sockets(f"/ws/guest/{client.room('g')}/", "a") as (a,):
        await a.send("user")
        await a.receive()
        await client.get("/logout/")
        for verb in ("call", "user"):
            await a.send(verb)
            await a.receive()
        await a.close()
    async with client.sockets(f"/ws/guest/{client.room('g')}/", "late") as (late,):
        await late.send("user")
        await late.receive()
        await late.close()


@behaviour(
    ("text", "ada", '["later", "ada-RUN", "", "", "seat of ada-RUN"]'),
    ("text", "bob", '["asked", "bob-RUN", "", "", "elsewhere"]'),
    ("http", 200, {"session": {"colour": "green"}}),
)
async def what_connect_puts_into_the_session_is_there_later(client: Client) -> None:
    """Values of the session, not saved, are there in receive() and in group handlers, which may change them."""
    path = f"/ws/person/{client.room('p')}/"
    await client.log_in(f"ada-{client.run}")
    async with client.sockets(path, "ada") as (ada,):
        await ada.ask({"report": "later"})
        await client.log_in(f"bob-{client.run}")
        async with client.sockets(path, "bob") as (bob,):
            await client.get("/session/")
            await ada.send_json({"type": "who.are.you", "text": "at an event"})
            await _receive(ada, bob)
            await ada.send_json({"type": "sit.down", "text": "elsewhere"})
            await ada.send_json({"type": "who.are.you", "text": "again"})
            await _receive(ada, bob)
            await bob.ask({"report": "asked"})
            await client.get("/session/")
            await bob.close()
        await ada.close()


@behaviour(
    ("text", "ada", '["event", "ada-RUN", "", "", "seat of ada-RUN"]'),
    ("text", "ada", "ada-RUN is Augusta"),
    ("text", "ada", '["then", "ada-RUN", "Augusta", "", "seat of ada-RUN"]'),
)
async def the_user_is_the_one_of_connect(client: Client) -> None:
    """A row that changes meanwhile changes nothing, until the handler asks for it by refresh_from_db()."""
    name = f"ada-{client.run}"
    await client.log_in(name)
    async with client.sockets(f"/ws/person/{client.room('p')}/", "ada") as (ada,):
        await client.post(f"/user/{name}/", {"first_name": "Augusta"})
        await ada.ask({"report": "message"})
        await ada.ask({"type": "who.are.you", "text": "event"})
        await ada.ask({"type": "look.again"})
        await ada.ask({"report": "then"})
        await ada.close()


@behaviour(
    ("text", "ada", "Countess ada-RUN"),
    ("http", 200, {"rows": [{"username": "bob-RUN", "first_name": "Countess bob-RUN", "is_staff": False}]}),
    ("text", "bob", '["later", "bob-RUN", "", "Countess bob-RUN", "seat of bob-RUN"]'),
)
async def a_model_instance_is_changed_and_saved_in_a_group_handler(client: Client) -> None:
    """Each member's own instance is changed, saved, and there at the next message."""
    path = f"/ws/person/{client.room('p')}/"
    await client.log_in(f"ada-{client.run}")
    async with client.sockets(path, "ada") as (ada,):
        await client.log_in(f"bob-{client.run}")
        async with client.sockets(path, "bob") as (bob,):
            await ada.send_json({"type": "christen", "text": "Countess"})
            await _receive(ada, bob)
            for peer in (ada, bob):
                await client.get(f"/user/{peer.name}-{client.run}/")
                await peer.ask({"report": "later"})
            await bob.close()
        await ada.close()


@behaviour(("text", "ada", "secret one"), ("text", "bob", '["later", "bob-RUN", "", "", "seat of bob-RUN"]'))
async def a_handler_asks_what_its_user_may(client: Client) -> None:
    """A handler that looks at its user's rights, as they were at connect."""
    path, names = f"/ws/person/{client.room('p')}/", {who: f"{who}-{client.run}" for who in ("ada", "bob")}
    await client.log_in(names["ada"])
    await client.post(f"/user/{names['ada']}/", {"is_staff": True})
    async with client.sockets(path, "ada") as (ada,):
        await client.log_in(names["bob"])
        async with client.sockets(path, "bob") as (bob,):
            await bob.send_json({"type": "for.staff", "text": "one"})
            await ada.receive()
            await client.post(f"/user/{names['ada']}/", {"is_staff": False})
            await client.post(f"/user/{names['bob']}/", {"is_staff": True})
            await ada.send_json({"type": "for.staff", "text": "two"})
            await ada.receive()
            await bob.ask({"report": "later"})
            await bob.close()
        await ada.close()


@behaviour(("text", "a", "nobody nobody"), ("text", "a", "call nobody False"))
async def who_never_logged_in_stays_anonymous(client: Client) -> None:
    """An anonymous user at group events and messages, without a session cookie."""
    async with client.sockets(f"/ws/guest/{client.room('g')}/", "a") as (a,):
        for verb in ("user", "call", "user"):
            await a.send(verb)
            await a.receive()
        await a.close()
