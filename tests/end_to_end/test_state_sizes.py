"""What a connection keeps, small and large, over real proxies: through events, a change of keys, and forgery.

A state of 1 kB travels in a header; one of 10 kB or 1 MB lies in the cache, and the header refers to it.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from grip_consumers.protocol import Close, Event, Open, Text, decode, encode

from .site.swarm.consumers import digest, filling
from .swarm import (
    OWN,
    Client,
    Plan,
    Site,
    Sites,
    crowd,
    either,
    fresh,
    named,
    plans,
    sites,
    welcomed,
    whole_exchange,
)

SIZES = {"1 kB": 1_000, "10 kB": 10_000, "1 MB": 1_000_000}
#: Processes of gunicorn, each of which imports the site when it starts: with two, batches move between them as well.
WORKERS = either(2, 3)
PLANS = [
    Plan(proxy, server, workers=WORKERS if server == "gunicorn" else 1)
    for proxy in ("pushpin", "embedded")
    for server in ("gunicorn", "uvicorn")
]
#: Where the backend can be restarted without the proxy, and asked behind its back.
APART = [plan for plan in PLANS if plan != Plan("embedded", "uvicorn")]
SERVICE_RESTART = 1012
EVENTS = "application/websocket-events"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with sites(tmp_path_factory.mktemp("state_sizes")) as running:
        yield running


@pytest.fixture
def site(request: pytest.FixtureRequest, started: Sites) -> Iterator[Site]:
    found = started[request.param]
    found.backend.mark()
    yield found
    print(found.log())


everywhere = pytest.mark.parametrize("site", plans(*PLANS), indirect=True)
apart = pytest.mark.parametrize("site", [pytest.param(plan, id=plan.name) for plan in APART], indirect=True)
sized = pytest.mark.parametrize("size", SIZES.values(), ids=[size.replace(" ", "") for size in SIZES])


# Keeping -----------------------------------------------------------------------------------------------------


async def keeps(client: Client, seed: str, size: int) -> None:
    """Have it keep a text that nobody else keeps."""
    assert await client.ask("keep", seed, size, answer="kept") == digest(filling(seed, size))


async def still_keeps(client: Client, seed: str, size: int) -> None:
    assert await client.ask("recall", answer="recalled") == [client.name, *digest(filling(seed, size))]


@everywhere
@sized
async def test_an_attribute_is_kept_over_messages_and_group_events(site: Site, size: int) -> None:
    group = fresh("keepers")
    async with crowd() as clients:
        for number in range(4):
            await welcomed(await clients.open(site, OWN[number % 2], named(number), [group]))
        for client in clients:
            await keeps(client, client.name, size)
        for count in range(1, 4):
            for client in clients:
                await still_keeps(client, client.name, size)
            await site.act(["group_send", group, {"type": "check"}])
            for client in clients:
                await client.hear("checked", client.name, count, *digest(filling(client.name, size)))
        await keeps(clients[0], "another", size + 1)
        await site.act(["group_send", group, {"type": "check"}])
        await clients[0].hear("checked", clients[0].name, 4, *digest(filling("another", size + 1)))
        await still_keeps(clients[1], clients[1].name, size)
        assert [client.code for client in clients] == [None] * 4


@everywhere
@pytest.mark.parametrize("kind", OWN)
async def test_a_state_grows_and_shrinks(site: Site, kind: str) -> None:
    async with crowd() as clients:
        client = await welcomed(await clients.open(site, kind, "alone"))
        for position, size in enumerate([0, 1_000_000, 10, 10_000, 1_000, 100_000, 1]):
            await keeps(client, str(position), size)
            await still_keeps(client, str(position), size)
            await still_keeps(client, str(position), size)


# A change of keys --------------------------------------------------------------------------------------------


@apart
async def test_connections_outlive_a_change_of_the_secret_key_in_which_they_take_part(site: Site) -> None:
    old, new = site.secrets[0], uuid.uuid4().hex
    group = fresh("called")
    async with crowd() as clients:
        held = {}
        for number, size in enumerate(SIZES.values()):
            for role in ("talks", "is-called", "is-silent"):
                groups = [group] if role == "is-called" else []
                client = await welcomed(await clients.open(site, OWN[number % 2], f"{role}-{size}", groups))
                await keeps(client, client.name, size)
                held[client] = size
        talking, called, silent = (
            [client for client in clients if client.name.startswith(role)]
            for role in ("talks", "is-called", "is-silent")
        )

        site.restart([new, old])
        for client in talking:
            assert await client.echoes()
        await site.act(["group_send", group, {"type": "check"}])
        for client in called:
            await client.hear("checked", client.name, 1, *digest(filling(client.name, held[client])))

        site.restart([new])
        for client in [*talking, *called]:
            await still_keeps(client, client.name, held[client])
        for client in silent:
            await client.say("recall")
            await client.wait(lambda: False, 5.0)
        assert {client.name: client.code for client in clients} == {
            **{client.name: None for client in [*talking, *called]},
            **{client.name: SERVICE_RESTART for client in silent},
        }
        # A client that is told so connects again.
        again = await welcomed(await clients.open(site, "own", "again"))
        await keeps(again, "again", 10)


# Forgery: the test plays the proxy ---------------------------------------------------------------------------


class Played:
    """A connection whose proxy is the test: it signs as the real one does and posts straight to the backend."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name = site, name
        self.connection_id = uuid.uuid4().hex
        self.token: str | None = None

    async def post(self, *events: Event, token: str | None, content_type: str = EVENTS) -> tuple[int, bytes]:
        """Post a batch with this token as the connection's state; status and body. What is set is not kept."""
        status, _, body = await self._post(events, token, content_type)
        return status, body

    async def proceed(self, *events: Event) -> list[Any]:
        """Post a batch as a proxy does, keep the state that comes back; what the client would get."""
        status, headers, body = await self._post(events, self.token, EVENTS)
        assert status == 200, body
        for name, value in headers:
            if name == "set-meta-state":
                self.token = value
        sent = [event.text for event in decode(body) if isinstance(event, Text)]
        return [json.loads(text.removeprefix("m:")) for text in sent if text.startswith("m:")]

    async def _post(
        self, events: tuple[Event, ...], token: str | None, content_type: str
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        key, issuer = self.site.signing
        signature = jwt.encode({"iss": issuer, "exp": int(time.time()) + 60}, key, algorithm="HS256")
        headers = [
            ("Content-Type", content_type),
            ("Accept", EVENTS),
            ("Connection-Id", self.connection_id),
            ("Grip-Sig", signature),
            ("Grip-Feature", "filter:skip-self, filter:skip-users"),
            ("Sec-WebSocket-Extensions", "grip"),
            ("Origin", self.site.url),
        ]
        if token is not None:
            headers.append(("Meta-State", token))
        path = f"/ws/own/?name={self.name}"
        return await whole_exchange(self.site.backend.url, "POST", path, encode(events), headers)


async def played(site: Site, name: str, size: int) -> Played:
    """A connection that keeps a text which is its own."""
    connection = Played(site, name)
    await connection.proceed(Open())
    await connection.proceed(say("keep", name, size))
    return connection


def say(*command: Any) -> Text:
    return Text(json.dumps(command))


def refused(status: int, body: bytes) -> bool:
    """Whether an answer ends the connection: with 1012, or with a status that makes a proxy drop it."""
    if status != 200:
        return 400 <= status < 500
    events = decode(body)
    return [event.code for event in events if isinstance(event, Close)] == [SERVICE_RESTART]


def must_not_tell(body: bytes, victim: str, size: int) -> None:
    """Nothing of another one's state, and no traceback, may reach a client."""
    text = body.decode(errors="replace")
    assert filling(victim, size)[:40] not in text
    assert digest(filling(victim, size))[1] not in text
    assert victim not in text
    assert "Traceback" not in text
    assert 'File "' not in text


@apart
@sized
async def test_a_state_that_is_not_the_connections_own_is_refused(site: Site, size: int) -> None:
    victim, attacker = await played(site, "victim", size), await played(site, "attacker", size)
    whole = attacker.token
    assert whole
    assert victim.token
    middle = len(whole) // 2
    forged = {
        "of another connection": victim.token,
        "cut": whole[:-1],
        "cut in the middle": whole[:middle],
        "altered": whole[:middle] + ("A" if whole[middle] != "A" else "B") + whole[middle + 1 :],
        "altered at the end": whole[:-1] + ("A" if whole[-1] != "A" else "B"),
        "altered at the start": ("A" if whole[0] != "A" else "B") + whole[1:],
        "of two": whole[:middle] + victim.token[middle:],
        "empty": "",
        "missing": None,
        "not base64": "!" * len(whole),
        "zeros": base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode(),
    }
    wrong = []
    for what, token in forged.items():
        status, body = await attacker.post(say("recall"), token=token)
        must_not_tell(body, "victim", size)
        if not refused(status, body):
            wrong.append((what, status, body[:200]))
    assert not wrong
    # What somebody else tried does the owner no harm.
    assert await victim.proceed(say("recall")) == [["recalled", "victim", *digest(filling("victim", size))]]


@apart
@pytest.mark.parametrize("size", [1_000, 10_000], ids=["1kB", "10kB"])
async def test_headers_that_a_client_forges_bring_it_nobodys_state(site: Site, size: int) -> None:
    victim = await played(site, "victim", size)
    assert victim.token
    stolen = victim.token
    for headers in (
        {"Meta-State": stolen},
        {"Meta-State": stolen, "Connection-Id": victim.connection_id},
        {"Meta_State": stolen, "Connection_Id": victim.connection_id},
        {"Set-Meta-State": stolen},
        {"Meta-State": "nonsense"},
    ):
        async with crowd() as clients:
            try:
                client = await clients.open(site, "own", "attacker", headers=headers)
            except InvalidStatus as refusal:
                must_not_tell(refusal.response.body or b"", "victim", size)
                continue
            try:
                for _ in range(2):
                    await client.say("recall")
                await client.wait(lambda client=client: len(client.frames) >= 3, 5.0)
            except ConnectionClosed:
                pass
            for frame in client.frames:
                must_not_tell(str(frame).encode(), "victim", size)
            # It has a connection of its own, or none.
            assert client.code in {None, SERVICE_RESTART}
            if client.code is None:
                assert [frame[:2] for frame in client.frames[1:]] == [["recalled", "attacker"]] * 2


@apart
@pytest.mark.parametrize(
    "content_types",
    [[EVENTS], ["Application/WebSocket-Events"], [EVENTS, EVENTS], ["", EVENTS], [f"{EVENTS}; charset=utf-8"], []],
    ids=["as-a-proxy", "capitals", "twice", "empty-first", "charset", "none"],
)
async def test_a_request_of_a_client_through_the_proxy_speaks_for_no_connection(
    site: Site, content_types: list[str]
) -> None:
    victim = await played(site, "victim", 1_000)
    assert victim.token
    headers = [("Content-Type", content_type) for content_type in content_types]
    headers += [("Sec-WebSocket-Extensions", "grip"), ("Accept", EVENTS), ("Origin", site.url)]
    # Its id and its state together are with the proxy and the backend alone: a client that had both would be the proxy
    # as far as an empty first header goes, which Pushpin drops so that the rest is a batch that it has signed.
    altered = victim.token[:-1] + ("A" if victim.token[-1] != "A" else "B")
    for identity in (
        [("Connection-Id", victim.connection_id)],
        [("Connection-Id", victim.connection_id), ("Meta-State", altered)],
        [("Connection-Id", uuid.uuid4().hex), ("Meta-State", victim.token)],
        [("Meta-State", victim.token)],
        [],
    ):
        for path in ("/ws/own/?name=attacker", "/nowhere/"):
            for body in (encode([say("recall")]), b"", b"TEXT zz\r\nnonsense"):
                status, _, content = await whole_exchange(site.url, "POST", path, body, [*headers, *identity])
                must_not_tell(content, "victim", 1_000)
                assert refused(status, content), (identity[:1], path, body, status, content)
