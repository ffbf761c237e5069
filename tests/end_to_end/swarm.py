"""The swarm site behind a proxy of its own, and many clients that keep account of what they are sent.

`GRIP_TESTS_LONG=1` in the environment makes the suites that use this module run their long form, with more members,
more sites and more time. `GRIP_TESTS_REFERENCE=1` adds real Channels (uvicorn, its layer in memory) to their sites,
which shows that a suite asks for nothing that Channels does not do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import shutil
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from grip_consumers.discovery import ISSUER
from grip_consumers.testing.pushpin import Pushpin
from tests.fleet import FRONT_KEY, by_pushpin, embedded
from tests.servers import ROOT, Backend, environment, gunicorn, start_all, stop_all, uvicorn
from tests.state.redis import private_redis

from .talking import SILENCE

LONG = os.environ.get("GRIP_TESTS_LONG", "") not in {"", "0"}
REFERENCE = os.environ.get("GRIP_TESTS_REFERENCE", "") not in {"", "0"}
#: Seconds to wait for what must come, on a machine that is busy with hundreds of connections.
PATIENCE = 60.0 if LONG else 30.0
#: Of a handler that is the same for all members, and of one that is not.
SHARED, OWN = ("shared", "async-shared"), ("own", "async-own")
KINDS = ("shared", "own", "async-shared", "async-own")

PACKAGE = "tests.end_to_end.site.swarm"
_SOURCE = Path(__file__).resolve().parent / "site" / "swarm"
#: What makes a Channels project of a copy of the site.
_REFERENCE_PACKAGE = "channels_swarm"
_REFERENCE_REPLACE = (('"grip_consumers"', '"channels"'), ("grip_consumers.", "channels."))
#: With room for all that waits in one process while the machine is busy.
_REFERENCE_SETTINGS = """
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}}
"""

T = TypeVar("T")
R = TypeVar("R")


def either(short: T, long: T) -> T:
    """What a suite uses in its short form and in its long one."""
    return long if LONG else short


# Servers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How a site is served. `message_rate` is Pushpin's, whose own default is 2,500; 0 is unlimited."""

    proxy: str = "pushpin"
    server: str = "gunicorn"
    workers: int = 1
    message_rate: int = 2500

    @property
    def name(self) -> str:
        rate = "" if self.proxy != "pushpin" or self.message_rate == 2500 else f"-rate{self.message_rate}"
        return f"{self.proxy}{rate}-{self.server}{self.workers if self.workers > 1 else ''}"


#: Real Channels, in place of a proxy.
CHANNELS = Plan("channels", "uvicorn")


def plans(*chosen: Plan) -> list[Any]:
    """Parameters for the fixture `site`."""
    return [pytest.param(plan, id=plan.name) for plan in (*chosen, *([CHANNELS] if REFERENCE else []))]


@dataclass
class Site:
    """One running site: clients connect to `url`, and `backend` is asked to send without a proxy between."""

    plan: Plan
    url: str
    backend: Backend
    proxy: Backend | Pushpin
    secrets: list[str]
    #: What a test that plays the proxy signs with, and the issuer that it names.
    signing: tuple[str, str]
    #: Where the backend notes callbacks, see `site/swarm/callbacks.py`.
    callbacks: Path

    async def act(self, *operations: Sequence[Any]) -> Any:
        """Have the backend call its channel layer, see the view; returns its answer."""
        return await post(self.backend.url, "/act/", list(operations))

    async def note(self, group: str, sender: str, number: int) -> None:
        await self.act(noted(group, sender, number))

    def restart(self, keys: list[str]) -> None:
        """Restart the backend with SECRET_KEY and SECRET_KEY_FALLBACKS."""
        self.secrets = keys
        self.backend.env["SWARM_SECRETS"] = json.dumps(keys)
        self.backend.restart()

    def called_back(self) -> Counter[str]:
        """How often the proxy has called back without events, by the name of the member."""
        lines = self.callbacks.read_text().splitlines() if self.callbacks.exists() else []
        return Counter(line.partition("name=")[2].partition("&")[0] for line in lines)

    def log(self) -> str:
        return f"{self.plan.name}: the backend printed\n{self.backend.log()}\nand the proxy\n{self.proxy.log()}"

    def complaints(self) -> list[str]:
        """What the backend printed that no test asks for."""
        return [line for line in self.backend.log().splitlines() if "Traceback" in line or "Exception in" in line]


def noted(group: str, sender: str, number: int) -> list[Any]:
    """The operation that sends one numbered event to a group."""
    return ["group_send", group, {"type": "note", "group": group, "sender": sender, "number": number}]


class Sites:
    """The sites of one module, each started when it is first asked for."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._running: dict[Plan, Site] = {}
        self._stack = contextlib.ExitStack()

    def __getitem__(self, plan: Plan) -> Site:
        if plan not in self._running:
            self._running[plan] = self._stack.enter_context(_served(plan, self._folder, self._redis_url))
        return self._running[plan]

    def stop(self) -> None:
        self._stack.close()


@contextmanager
def sites(folder: Path) -> Iterator[Sites]:
    """Sites that share a Redis."""
    _allow_many_files()
    with private_redis() as url:
        started = Sites(folder, url)
        try:
            yield started
        finally:
            started.stop()


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 20_000 if hard == resource.RLIM_INFINITY else min(20_000, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < 4_096:
        pytest.skip(f"A process may open {hard} files here, and the tests need 4,096: ulimit -n")


@contextmanager
def _served(plan: Plan, folder: Path, redis_url: str) -> Iterator[Site]:
    folder = folder / plan.name
    folder.mkdir()
    keys, callbacks = [secrets.token_hex(16)], folder / "callbacks"
    with contextlib.ExitStack() as stack:
        backend = _backend(plan, folder)
        backend.env.update(SWARM_SECRETS=json.dumps(keys), SWARM_REDIS=redis_url, SWARM_CALLBACKS=str(callbacks))
        proxy, entries, signing = _proxy(plan, folder, backend, stack)
        backend.env["GRIP_PROXIES"] = json.dumps(entries)
        servers = {server for server in (backend, proxy) if isinstance(server, Backend)}
        stack.callback(stop_all, servers)
        start_all(servers)
        yield Site(plan, proxy.url, backend, proxy, keys, signing, callbacks)


def _proxy(
    plan: Plan, folder: Path, backend: Backend, stack: contextlib.ExitStack
) -> tuple[Backend | Pushpin, list[dict[str, str]], tuple[str, str]]:
    """What clients connect to, the entries of GRIP_PROXIES for it, and what it signs with."""
    if plan.proxy == "pushpin":
        # First: it takes the ports that it publishes on when it starts.
        pushpin = stack.enter_context(Pushpin(backend.port, message_rate=plan.message_rate))
        return pushpin, [by_pushpin(pushpin)], (pushpin.sig_key, "pushpin")
    if plan == CHANNELS:
        return backend, [], ("", "")
    proxy = backend if plan.server == "uvicorn" else _front(folder, backend)
    return proxy, [embedded(proxy.port)], (FRONT_KEY, ISSUER)


def _backend(plan: Plan, folder: Path) -> Backend:
    package, code = PACKAGE, ROOT
    if plan == CHANNELS:
        package, code = _REFERENCE_PACKAGE, _reference(folder)
    if plan.server == "gunicorn":
        command = [*gunicorn(f"{package}.wsgi:served"), "--workers", str(plan.workers)]
        if plan.proxy == "embedded":
            # The front does not try again when a connection that it reuses is closed at that very moment.
            command += ["--keep-alive", "600"]
    elif plan.proxy == "embedded":
        command = uvicorn("tests.fronts:around_application", factory=True)
    else:
        command = uvicorn(f"{package}.asgi:served")
    env = {
        "DJANGO_SETTINGS_MODULE": f"{package}.settings",
        "FRONT_KEY": FRONT_KEY,
        "FRONT_APPLICATION": f"{package}.asgi:served",
    }
    return Backend(plan.name, command, folder=folder, env=env, cwd=code, ready_path="/ready/")


def _front(folder: Path, backend: Backend) -> Backend:
    env = {"FRONT_KEY": FRONT_KEY, "FRONT_BACKEND": backend.url}
    command = uvicorn("tests.fronts:before_backend", factory=True)
    return Backend("front", command, folder=folder, env=env, ready_path="/ready/")


def _reference(folder: Path) -> Path:
    """A copy of the site as it would be written for Channels."""
    copy = folder / _REFERENCE_PACKAGE
    shutil.copytree(_SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "wsgi.py"))
    for file in copy.glob("*.py"):
        text = file.read_text()
        for old, new in _REFERENCE_REPLACE:
            text = text.replace(old, new)
        file.write_text(text + (_REFERENCE_SETTINGS if file.name == "settings.py" else ""))
    return folder


# Talking to the backend --------------------------------------------------------------------------------------


async def post(url: str, path: str, content: Any) -> Any:
    """POST JSON and return the JSON of the answer; one connection each, opened when it is called."""
    headers = [("Content-Type", "application/json")]
    status, body = await exchange(url, "POST", path, json.dumps(content).encode(), headers)
    if status != 200:
        raise AssertionError(f"POST {path} was answered with {status}: {body[:2000].decode(errors='replace')}")
    return json.loads(body)


async def exchange(
    url: str, method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]
) -> tuple[int, bytes]:
    """One HTTP request with exactly these headers (beside Host, Content-Length and Connection): status and body."""
    status, _, content = await whole_exchange(url, method, path, body, headers)
    return status, content


async def whole_exchange(
    url: str, method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]]
) -> tuple[int, list[tuple[str, str]], bytes]:
    """The same with the headers of the answer, names in lower case."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    named = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)]
    if ("transfer-encoding", "chunked") in named:
        content = _unchunked(content)
    return int(first.split()[1]), named, content


def _unchunked(content: bytes) -> bytes:
    whole = b""
    while content:
        size, _, content = content.partition(b"\r\n")
        whole += content[: int(size, 16)]
        content = content[int(size, 16) + 2 :]
    return whole


class Stream:
    """A process of its own that sends numbered events to a group, see `site/swarm/sender.py`.

    Real Channels has its layer in the memory of its server: there a view does the same.
    """

    def __init__(self, site: Site, group: str, sender: str, *, count: int, interval: float = 0.0) -> None:
        self.group, self.sender = group, sender
        self._site = site
        self._folder = tempfile.TemporaryDirectory()
        self._until = Path(self._folder.name) / "ended"
        self._what = {"group": group, "sender": sender, "count": count, "interval": interval, "until": str(self._until)}
        self._process: asyncio.subprocess.Process | None = None
        self._sending: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Stream:
        """Start it; it waits to be told to begin."""
        if self._site.plan != CHANNELS:
            command = [sys.executable, "-m", f"{PACKAGE}.sender", json.dumps(self._what)]
            pipe = asyncio.subprocess.PIPE
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, env=environment(self._site.backend.env), cwd=ROOT, limit=2**24
            )
            if await self._line() != b"ready\n":
                raise RuntimeError("A sender did not get ready; it printed the reason.")
        return self

    async def __aexit__(self, *details: object) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        if self._process is not None:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
            # Its pipes are closed by the loop, which has to come round for that.
            await asyncio.sleep(0)
        self._folder.cleanup()

    def begin(self) -> None:
        if self._process is None:
            self._sending = asyncio.ensure_future(post(self._site.backend.url, "/stream/", self._what))
        else:
            assert self._process.stdin is not None
            self._process.stdin.write(b"go\n")

    def end(self) -> None:
        """Have it send no more, whatever its count."""
        self._until.touch()

    async def sent(self) -> list[Note]:
        """What it has sent, when it is done."""
        if self._sending is not None:
            numbers = (await asyncio.wait_for(self._sending, PATIENCE))["sent"]
        else:
            numbers = json.loads(await self._line())
        return [Note(self.group, self.sender, int(number), began, ended) for number, began, ended in numbers]

    async def _line(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        return await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)


# Clients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """One event as its sender knows it: when the call began and when it had returned."""

    group: str
    sender: str
    number: int
    began: float
    ended: float

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.group, self.sender, self.number


class Client:
    """One open connection that takes in what it is sent as it comes."""

    def __init__(self, name: str, kind: str, connection: ClientConnection) -> None:
        self.name, self.kind = name, kind
        self.connection = connection
        #: Lists for what was JSON, the frame itself for everything else.
        self.frames: list[Any] = []
        #: When each came, in seconds of time.monotonic().
        self.times: list[float] = []
        #: The notes among them, and how often each came.
        self.notes: list[tuple[str, str, int]] = []
        self.counted: Counter[tuple[str, str, int]] = Counter()
        self.closed: ConnectionClosed | None = None
        #: When the connection had become a member of each group.
        self.joined: dict[str, float] = {}
        self._news = asyncio.Event()
        self._echoes = 0
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            while True:
                frame = await self.connection.recv()
                self.times.append(time.monotonic())
                self._take(json.loads(frame) if isinstance(frame, str) and frame.startswith("[") else frame)
        except ConnectionClosed as closed:
            self.closed = closed
            self._news.set()

    def _take(self, frame: Any) -> None:
        self.frames.append(frame)
        if isinstance(frame, list) and frame[0] == "note":
            self.notes.append((frame[1], frame[2], frame[3]))
            self.counted[self.notes[-1]] += 1
        self._news.set()

    @property
    def code(self) -> int | None:
        """The code that the connection was closed with; 1006 for one that was cut, None while it is open."""
        if self.closed is None:
            return None
        return 1006 if self.closed.rcvd is None else self.closed.rcvd.code

    async def say(self, *command: Any) -> None:
        await self.connection.send(json.dumps(command))

    async def wait(self, condition: Callable[[], T], patience: float = PATIENCE) -> T | None:
        """What `condition` returns as soon as it is true; None when that takes too long or the connection ends."""
        deadline = time.monotonic() + patience
        while not (found := condition()):
            self._news.clear()
            left = deadline - time.monotonic()
            if left <= 0 or self.closed is not None:
                return None
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return found

    async def hear(self, *beginning: Any, after: int = 0, patience: float = PATIENCE) -> Any:
        """The first frame from position `after` on that begins like this. AssertionError if none comes."""
        found = await self.wait(lambda: self._find(list(beginning), after), patience)
        if not found:
            seen = [str(frame)[:60] for frame in self.frames[-5:]]
            raise AssertionError(
                f"{self.kind} {self.name} waited in vain for {list(beginning)!r}; closed: {self.closed!r}; "
                f"{len(self.frames)} frames, the last ones: {seen}"
            )
        return found

    def _find(self, beginning: list[Any], after: int) -> Any:
        for frame in self.frames[after:]:
            if isinstance(frame, list) and frame[: len(beginning)] == beginning:
                return frame
        return None

    async def ask(self, *command: Any, answer: str, patience: float = PATIENCE) -> Any:
        """Say something and return the answer, which begins with `answer`, without that."""
        position = len(self.frames)
        await self.say(*command)
        return (await self.hear(answer, after=position, patience=patience))[1:]

    async def echoes(self, patience: float = PATIENCE) -> bool:
        """Whether the connection still answers."""
        self._echoes += 1
        value, position = f"{self.name} {self._echoes}", len(self.frames)
        try:
            await self.say("echo", value)
        except ConnectionClosed:
            return False
        return bool(await self.wait(lambda: self._find(["echo", value], position), patience))

    async def join(self, group: str) -> None:
        """Become a member by a message of its own."""
        await self.say("join", group)
        self.joined[group] = (await self.hear("joined", group))[2]

    @property
    def channel_name(self) -> str:
        return str(self.frames[0][3])

    @property
    def handled(self) -> list[tuple[str, int]]:
        """What a handler of its own says about itself: the name and how many it has handled."""
        return [(frame[4], frame[5]) for frame in self.frames if isinstance(frame, list) and frame[0] == "note"]

    async def close(self) -> None:
        await self.connection.close()
        await self._reader


async def open_client(
    site: Site,
    kind: str,
    name: str,
    groups: Sequence[str] = (),
    *,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> Client:
    """Connect; it returns when the handshake is complete, before anything was heard."""
    path = f"/ws/{kind}/?{urlencode([('name', name), *(('group', group) for group in groups), *query.items()])}"
    connection = await connect(
        f"{site.url.replace('http', 'ws', 1)}{path}",
        origin=site.url,
        additional_headers=dict(headers or {}),
        compression=None,
        proxy=None,
        ping_interval=None,
        open_timeout=PATIENCE,
        close_timeout=PATIENCE,
        max_size=None,
    )
    client = Client(name, kind, connection)
    client.joined = dict.fromkeys(groups, float("inf"))
    return client


async def welcomed(client: Client) -> Client:
    """Note when it had joined the groups that it connected with."""
    joined = (await client.hear("welcome"))[1]
    client.joined = dict.fromkeys(client.joined, joined)
    return client


@asynccontextmanager
async def crowd(*, at_once: int = 20) -> AsyncIterator[Crowd]:
    """Clients that are closed at the end, `at_once` at a time."""
    opened = Crowd(at_once)
    try:
        yield opened
    finally:
        await opened.each(Client.close)


class Crowd(list[Client]):
    """Clients; what they do together is ramped, because a proxy cuts connections off that all ask at once."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self._gate = asyncio.Semaphore(at_once)

    async def open(self, site: Site, kind: str, name: str, groups: Sequence[str] = (), **options: Any) -> Client:
        client = await open_client(site, kind, name, groups, **options)
        self.append(client)
        return client

    async def each(self, action: Callable[[Client], Awaitable[R]], members: Iterable[Client] | None = None) -> list[R]:
        return await self.ramp(action, list(self if members is None else members))

    async def ramp(self, action: Callable[[T], Awaitable[R]], values: Iterable[T]) -> list[R]:
        """Do something with each value, not more than so many at once, and return the results in order."""

        async def gated(value: T) -> R:
            async with self._gate:
                return await action(value)

        results = await asyncio.gather(*map(gated, values), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results  # type: ignore[return-value]


def named(number: int) -> str:
    return f"m{number}"


def fresh(what: str) -> str:
    """A name that nothing else uses."""
    return f"{what}.{uuid.uuid4().hex[:8]}"


# Accounts ----------------------------------------------------------------------------------------------------


def due(client: Client, sent: Iterable[Note]) -> set[tuple[str, str, int]]:
    """What a client must get: whatever was sent to its groups when it was a member already."""
    never = float("inf")
    return {note.identity for note in sent if note.began >= client.joined.get(note.group, never)}


async def settle(site: Site, clients: Crowd, sent: Sequence[Note], patience: float = PATIENCE) -> None:
    """Wait until everybody has what is due, then for an event after it all, then for what comes too much.

    Returns at the deadline as well: `account` says what is missing.
    """
    deadline = time.monotonic() + patience

    async def complete(client: Client) -> None:
        wanted = due(client, sent)
        await client.wait(
            lambda: len(client.counted) >= len(wanted) and wanted <= client.counted.keys(),
            deadline - time.monotonic(),
        )

    async def fenced(client: Client) -> None:
        fences = {(group, "fence", 1) for group in client.joined}
        await client.wait(lambda: fences <= client.counted.keys(), deadline + 5 - time.monotonic())

    await asyncio.gather(*map(complete, clients))
    groups = sorted({group for client in clients for group in client.joined})
    for start in range(0, len(groups), 50):
        await site.act(*(noted(group, "fence", 1) for group in groups[start : start + 50]))
    await asyncio.gather(*map(fenced, clients))
    await asyncio.sleep(SILENCE)


def account(clients: Iterable[Client], sent: Sequence[Note]) -> list[str]:
    """What went wrong: one line per client that missed, doubled, invented, mixed up or lost something."""
    sent_to_somebody = {note.identity for note in sent}
    problems = []
    for client in clients:
        found = _problems(client, due(client, sent), sent_to_somebody)
        if found:
            problems.append(f"{client.kind} {client.name}: {'; '.join(found)}")
    return problems


def _problems(client: Client, wanted: set[tuple[str, str, int]], possible: set[tuple[str, str, int]]) -> list[str]:
    doubled = sorted(note for note, times in client.counted.items() if times > 1)
    missing = sorted(wanted - client.counted.keys())
    possible = possible | {(group, "fence", 1) for group in client.joined}
    strange = sorted(note for note in client.counted if note not in possible or note[0] not in client.joined)
    found = []
    for what, notes in (("missed", missing), ("doubled", doubled), ("was sent by nobody", strange)):
        if notes:
            found.append(f"{what} {len(notes)} of {len(wanted)}: {notes[:3]}")
    found += _disorder(client.notes)
    if client.closed is not None:
        found.append(f"closed with {client.code}")
    if client.kind in OWN and client.handled != [(client.name, number + 1) for number in range(len(client.notes))]:
        found.append(f"its handler counted {[number for _, number in client.handled][:20]}")
    return found


def _disorder(notes: Iterable[tuple[str, str, int]]) -> list[str]:
    last: dict[str, tuple[str, str, int]] = {}
    found = []
    for note in notes:
        before = last.get(note[1])
        if before is not None and before[2] > note[2]:
            found.append(f"{note} came after {before}")
        last[note[1]] = note
    return found[:3]


def summary(problems: Sequence[str], of: int) -> str:
    return f"{len(problems)} of {of} clients complain:\n" + "\n".join(problems[:15])
