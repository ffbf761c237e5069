"""The handshake: what is negotiated, what the scope says, and who is refused."""

from __future__ import annotations

from ..client import Client
from . import behaviour


@behaviour(("accepted", "client", 101, "second", []), ("accepted", "client", 101, None, []))
async def a_subprotocol_is_negotiated(client: Client) -> None:
    """The consumer sees the offered subprotocols in order and chooses one, or none."""
    async with client.socket("/ws/subprotocol/", subprotocols=["first", "second"]) as peer:
        await peer.receive()
        await peer.close()
    async with client.socket("/ws/subprotocol/") as peer:
        await peer.receive()
        await peer.close()


@behaviour(("accepted", "client", 101, None, [["x-greeting", "hello"], ["x-other", "1, 2"]]))
async def accept_may_send_headers(client: Client) -> None:
    """accept(headers=…) reaches the client."""
    async with client.socket("/ws/accept-headers/") as peer:
        await peer.close()


@behaviour(("text", "client", "welcome"), ("bytes", "client", b"\x01\x02"))
async def the_consumer_may_speak_first(client: Client) -> None:
    """What connect() sends after accept() arrives without the client saying a word."""
    async with client.socket("/ws/greeting/") as peer:
        await peer.receive(2)
        await peer.close()


@behaviour(("closed", "client", 4003, "no seat left"), ("journal", "client", [["disconnect", 4003]]))
async def accept_then_close_shows_the_code(client: Client) -> None:
    """connect() may accept, speak and close with a code and a reason that the client can read."""
    async with client.socket("/ws/accept-then-close/") as peer:
        await peer.closed()
        await client.journal(until="disconnect")


@behaviour(("refused", "client", 403, [], ""), ("journal", "client", [["connect"], ["disconnect", 1006]]))
async def close_in_connect_refuses(client: Client) -> None:
    """close() before accept() refuses the handshake with 403, and disconnect() is told 1006."""
    await client.handshake("/ws/reject-by-close/")
    await client.journal(until="disconnect")
    await client.handshake("/ws/async-reject-by-close/", "other")
    await client.journal("other", until="disconnect")


@behaviour(("refused", "client", 403, [], ""), ("journal", "client", [["disconnect", 1006]]))
async def deny_connection_refuses(client: Client) -> None:
    """DenyConnection raised in connect() refuses the handshake with 403."""
    await client.handshake("/ws/reject-by-deny/")
    await client.journal(until="disconnect")


@behaviour(("text", "client", "accepted"))
async def accept_connection_accepts(client: Client) -> None:
    """AcceptConnection raised in connect() accepts."""
    async with client.socket("/ws/accept-by-exception/") as peer:
        await peer.send("hi")
        await peer.receive()
        await peer.close()


@behaviour(("refused", "client", 402, [["x-price", "12 crowns"]], "pay first"))
async def a_denial_response_reaches_the_client(client: Client) -> None:
    """A handshake refused by websocket.http.response.start and .body has that status, headers and body."""
    await client.handshake("/ws/denial-response/")
    await client.journal(until="disconnect")


@behaviour(("refused", "client", 403, [], ""))
async def a_foreign_origin_is_refused(client: Client) -> None:
    """AllowedHostsOriginValidator refuses foreign origins, and clients that name none."""
    await client.handshake("/ws/echo/", origin="http://evil.example")
    await client.handshake("/ws/echo/", origin=None)
    await client.handshake("/ws/echo/", origin="null")
    async with client.socket("/ws/echo/", origin="https://127.0.0.1:8443") as peer:
        await peer.close()


@behaviour(("refused", "client", 500, [], "Internal Server Error"))
async def a_path_without_a_route_is_refused(client: Client) -> None:
    """A path that no route matches refuses the handshake."""
    await client.handshake("/ws/nowhere/")


@behaviour(("accepted", "client", 101, None, []))
async def the_scope_describes_the_request(client: Client) -> None:
    """Path, query string, cookies, headers, subprotocols and route arguments are in the scope, later too."""
    client.http.cookies.set("flavour", "plain")
    client.http.cookies.set("size", "a%20b")
    headers = {"X-Test": "one", "X-Test-Other": "two, three", "User-Agent": "parity"}
    path = "/ws/report/7/caf/?name=a%20b&name=c&empty="
    async with client.socket(path, headers=headers, subprotocols=None) as peer:
        await peer.receive()
        await peer.send("again")
        await peer.receive()
        await peer.close()


@behaviour(("text", "client", '{"inner": "in-ner", "outer": "out"}'))
async def nested_routers_add_up_their_arguments(client: Client) -> None:
    """A URLRouter inside a URLRouter matches the rest of the path and keeps the outer arguments."""
    async with client.socket("/ws/nested/out/kwargs/in-ner/") as peer:
        await peer.send("tell")
        await peer.receive()
        await peer.close()
    async with client.socket("/ws/nested/out/report/12/word/") as peer:
        await peer.receive()
        await peer.close()


@behaviour(("text", "client", '["", false, true, {}]'), ("text", "ada", '["ada", true, false, {"colour": "green"}]'))
async def the_user_and_the_session_are_in_the_scope(client: Client) -> None:
    """Who logged in by an ordinary view is known to the consumer, with the session."""
    async with client.socket("/ws/who/") as peer:
        await peer.receive()
        await peer.close()
    await client.get("/login/ada/")
    async with client.socket("/ws/who/", "ada") as peer:
        await peer.receive()
        await peer.send("again")
        await peer.receive()
        await peer.close()


@behaviour(
    ("http", 200, {"session": {"colour": "green"}}),
    ("http", 200, {"session": {"colour": "green", "seat": "12C"}}),
)
async def the_session_is_saved_when_the_consumer_saves_it(client: Client) -> None:
    """A change to the session stays on the connection, and reaches the store by save() only."""
    await client.get("/login/ada/")
    async with client.socket("/ws/who/") as peer:
        await peer.receive()
        for text in ("sit", "look"):
            await peer.send(text)
            await peer.receive()
        await client.get("/session/")
        await peer.send("save")
        await peer.receive()
        await client.get("/session/")
        await peer.close()


@behaviour(("text", "client", "grace grace"), ("text", "client", "nobody nobody"))
async def a_consumer_may_log_in_and_out(client: Client) -> None:
    """login() and logout() over the socket last for the messages that follow."""
    async with client.socket("/ws/logs-in/") as peer:
        for text in ("who", "grace", "who", "who", "out", "who"):
            await peer.send(text)
            await peer.receive()
        await peer.close()


@behaviour(("refused", "client", 500, [], "Internal Server Error"), ("accepted", "umlaut", 101, None, []))
async def paths_are_decoded_once(client: Client) -> None:
    """Percent signs in the path are decoded as UTF-8, once; those of the query string are left alone."""
    async with client.socket("/ws/nested/out/report/12/w%C3%B6rd/?q=w%C3%B6rd%2525", "umlaut") as peer:
        await peer.receive()
        await peer.send("again")
        await peer.receive()
        await peer.close()
    await client.handshake("/ws/nested/out/report/12/w%25C3rd/")
