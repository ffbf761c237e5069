"""A small proxy for tests: batches of WebSocket events, posted in process by each of the four ways in.

wsgi          Django's WSGIHandler with GripMiddleware
grip-wsgi     GripWSGI in front of the same WSGIHandler
asgi          ProtocolTypeRouter, called as the ASGI application
django-asgi   Django's ASGIHandler with GripMiddleware

A test module says `site = batches.site` and gets each test that asks for `site` run in all four.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path as route
from grip_consumers.routing import ProtocolTypeRouter, URLRouter

from grip_consumers import followup, publisher, refresher, registry
from grip_consumers.protocol import Binary, Close, Event, Open, Ping, Pong, Text, decode, encode
from grip_consumers.wsgi import GripWSGI

WSGI_WAYS = ("wsgi", "grip-wsgi")
WAYS = (*WSGI_WAYS, "asgi", "django-asgi")
CONTENT_TYPE = "application/websocket-events"
#: What a browser sends with its handshake.
HANDSHAKE = (
    ("Host", "testserver"),
    ("User-Agent", "Mozilla/5.0"),
    ("Origin", "http://testserver"),
    ("Cookie", "a=b; c=d"),
    ("Sec-WebSocket-Version", "13"),
)
#: What the proxy adds to it beside the Connection-Id and the state.
OF_THE_PROXY = (("Sec-WebSocket-Extensions", "grip"), ("Grip-Feature", "filter:skip-users"))

_numbers = itertools.count(1)
_consumers = types.ModuleType("tests.batches_consumers")
sys.modules[_consumers.__name__] = _consumers


async def application(scope: Any, receive: Any, send: Any) -> None:
    """ASGI_APPLICATION: the one that the test under way serves."""
    await _served[-1](scope, receive, send)


_served: list[Any] = []


def importable(cls: type[Any]) -> type[Any]:
    """Let a class that a test defines be found by its name, as one at a module's top level is."""
    cls.__module__ = _consumers.__name__
    cls.__qualname__ = f"{cls.__name__}{next(_numbers)}"
    setattr(_consumers, cls.__qualname__, cls)
    return cls


def forget(cls: type[Any]) -> None:
    """As a deploy that removes the class."""
    from grip_consumers.state.table import _imported

    delattr(_consumers, cls.__qualname__)
    _imported.cache_clear()


def restore(cls: type[Any]) -> None:
    """Undo `forget`."""
    setattr(_consumers, cls.__qualname__, cls)


def echo_view(request: HttpRequest) -> HttpResponse:
    """What Django's own views make of a request: its body again."""
    return HttpResponse(b"view:" + request.body, content_type="text/plain")


urlpatterns = [route("view/", echo_view)]


@dataclass
class Answer:
    """An HTTP response: names of headers in lower case, the length left out."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def frames(self) -> list[tuple[Any, ...]]:
        """All events of the response, control messages as ("control", dict)."""
        if self.status != 200 or self.header("content-type") != CONTENT_TYPE:
            raise AssertionError(f"expected events, got {self}")
        return [_frame(event) for event in decode(self.body)]

    @property
    def sent(self) -> list[tuple[Any, ...]]:
        """The events that concern the client."""
        return [frame for frame in self.frames if frame[0] != "control"]

    @property
    def controls(self) -> list[dict[str, Any]]:
        return [frame[1] for frame in self.frames if frame[0] == "control"]

    @property
    def channels(self) -> list[str]:
        """The channels that the response subscribes to."""
        return [control["channel"] for control in self.controls if control["type"] == "subscribe"]

    @property
    def user(self) -> str | None:
        """What the response sets as the meta value that skip-users compares."""
        values = [control["value"] for control in self.controls if control["type"] == "set-meta"]
        return values[0] if values else None


def _frame(event: Event) -> tuple[Any, ...]:
    if isinstance(event, Text):
        if event.text.startswith("c:"):
            return ("control", json.loads(event.text[2:]))
        return ("text", event.text.removeprefix("m:"))
    if isinstance(event, Binary):
        return ("binary", event.data.removeprefix(b"m:"))
    if isinstance(event, Close):
        return ("close", event.code, event.reason)
    if isinstance(event, (Ping, Pong)):
        return (type(event).__name__.lower(), event.data)
    return (type(event).__name__.lower(),)


class Site:
    """A Django project for the length of a test, entered by one way."""

    def __init__(self, way: str, settings: Any) -> None:
        self.way = way
        self.settings = settings
        #: The items that were published, in order.
        self.published: list[Any] = []
        #: The channels that were refreshed, and those whose connections are looked after, in order.
        self.refreshed: list[str] = []
        self.watched: list[tuple[str, dict[str, int]]] = []

    def serve(self, *consumers: Any, **paths: Any) -> None:
        """Route consumer classes or ASGI applications: the first at /ws/, keywords at paths of their names."""
        routed = {**({"ws": consumers[0]} if consumers else {}), **paths}
        routes = [route(f"{name}/", _as_asgi(target)) for name, target in routed.items()]
        self.serve_application(URLRouter(routes))

    def serve_application(self, websocket: Any, **others: Any) -> None:
        """Serve an application for websocket scopes."""
        self.application = ProtocolTypeRouter({"http": ASGIHandler(), "websocket": websocket, **others})
        _served[:] = [self.application]

    def client(self, path: str = "/ws/", **options: Any) -> Client:
        return Client(self, path, **options)

    def opened(self, path: str = "/ws/", **options: Any) -> Client:
        """A client whose connection has been accepted."""
        client = self.client(path, **options)
        answer = client.post(Open())
        if ("open",) not in answer.sent or not client.meta:
            raise AssertionError(f"the connection was not accepted: {answer}")
        return client

    @property
    def texts(self) -> list[tuple[str, str]]:
        """What was published as text: channel and text."""
        return [(item.channel, item.message.content) for item in self.published]


def _as_asgi(target: Any) -> Any:
    return target.as_asgi() if isinstance(target, type) else target


class Client:
    """One connection: what the proxy keeps of it between two batches."""

    def __init__(
        self,
        site: Site,
        path: str = "/ws/",
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = HANDSHAKE,
        connection_id: str | None = None,
        root_path: str = "",
        scheme: str = "http",
    ) -> None:
        self.site = site
        self.path, self.query, self.root_path, self.scheme = path, query, root_path, scheme
        self.handshake = list(headers)
        self.connection_id = f"connection-{next(_numbers)}" if connection_id is None else connection_id
        self.meta: dict[str, str] = {}
        #: Further headers for every request.
        self.extra: list[tuple[str, str]] = list(OF_THE_PROXY)
        self.method, self.content_types = "POST", [CONTENT_TYPE]

    def post(self, *events: Event, body: bytes | None = None) -> Answer:
        """Post a batch and wait for its answer."""
        if self.site.way in WSGI_WAYS:
            return self._keep(self._post_wsgi(encode(events) if body is None else body))
        return asyncio.run(self.apost(*events, body=body))

    async def apost(self, *events: Event, body: bytes | None = None) -> Answer:
        """The same on the running loop; a WSGI site answers in a thread."""
        data = encode(events) if body is None else body
        if self.site.way in WSGI_WAYS:
            return self._keep(await asyncio.to_thread(self._post_wsgi, data))
        return self._keep(await self._post_asgi(data))

    @property
    def identity(self) -> str:
        """What the connection's state is sealed for."""
        return f"{self.connection_id} {self.root_path}{self.path}?{self.query}"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Without the content type."""
        own = [("Connection-Id", self.connection_id)] if self.connection_id else []
        return [*self.handshake, *own, *self.meta.items(), *self.extra]

    def _keep(self, answer: Answer) -> Answer:
        for name, value in answer.headers:
            if name.startswith("set-meta-"):
                self.meta[name.removeprefix("set-").title()] = value
        return answer

    def _post_wsgi(self, body: bytes) -> Answer:
        found: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            found.update(status=int(status[:3]), headers=headers)

        handler = WSGIHandler()
        target = handler if self.site.way == "wsgi" else GripWSGI(handler)
        result = target(self.environ(body), start_response)
        content = b"".join(result)
        if hasattr(result, "close"):
            result.close()
        return _answer(found["status"], found["headers"], content)

    def environ(self, body: bytes) -> dict[str, Any]:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": self.root_path.encode().decode("latin-1"),
            "PATH_INFO": self.path.encode().decode("latin-1"),
            "QUERY_STRING": self.query,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "4711",
            "wsgi.url_scheme": self.scheme,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if self.content_types:
            environ["CONTENT_TYPE"] = ",".join(self.content_types)
        for name, value in self.headers:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        return environ

    def scope(self) -> dict[str, Any]:
        from urllib.parse import quote

        pairs = [*self.headers, *(("Content-Type", value) for value in self.content_types)]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "path": self.root_path + self.path,
            "raw_path": quote(self.root_path + self.path).encode(),
            "query_string": self.query.encode("latin-1"),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 4711),
        }

    async def _post_asgi(self, body: bytes) -> Answer:
        target = self.site.application if self.site.way == "asgi" else ASGIHandler()
        messages = await call_asgi(target, self.scope(), body)
        start = messages[0]
        content = b"".join(message.get("body", b"") for message in messages[1:])
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
        return _answer(start["status"], headers, content)


async def call_asgi(target: Any, scope: dict[str, Any], *chunks: bytes) -> list[dict[str, Any]]:
    """Call an ASGI application with a request of these chunks; what it sent."""
    pending = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if pending:
            return pending.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await target(scope, receive, send)
    return sent


def _answer(status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    # Django writes cookies with a blank in front, which no client sees.
    pairs = [(name.lower(), value.strip()) for name, value in headers]
    lengths = [int(value) for name, value in pairs if name == "content-length"]
    if lengths not in ([], [len(body)]):
        raise AssertionError(f"the response has {len(body)} bytes, but says {lengths}")
    return Answer(status, [pair for pair in pairs if pair[0] != "content-length"], body)


def make_site(way: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A project with no proxy to publish to: what it publishes is recorded."""
    found = Site(way, settings)

    def record(items: Any) -> None:
        found.published.extend(items)

    async def arecord(items: Any) -> None:
        found.published.extend(items)

    async def arefresh(channels: Any) -> None:
        found.refreshed.extend(channels)

    monkeypatch.setattr(publisher, "publish", record)
    monkeypatch.setattr(publisher, "apublish", arecord)

    def request(channels: Any, done: Any = None) -> None:
        found.refreshed.extend(channels)
        if done is not None:
            done()

    monkeypatch.setattr(refresher, "request", request)
    monkeypatch.setattr(refresher, "refresh", found.refreshed.extend)
    monkeypatch.setattr(refresher, "arefresh", arefresh)
    monkeypatch.setattr(followup, "watch", lambda channel, ends, *delays: found.watched.append((channel, dict(ends))))
    # Consumers of other tests must not render this one's events.
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    monkeypatch.setattr(registry, "_streams", weakref.WeakSet())
    settings.ASGI_APPLICATION = "tests.batches.application"
    settings.MIDDLEWARE = ["grip_consumers.GripMiddleware"]
    settings.ROOT_URLCONF = "tests.batches"
    settings.GRIP_PROXIES = []
    settings.GRIP_MAILBOX = "memory"
    return found


@pytest.fixture(params=WAYS)
def site(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A project, entered by each of the four ways."""
    yield make_site(request.param, settings, monkeypatch)
    _served.clear()


@pytest.fixture
def wsgi_site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield make_site("wsgi", settings, monkeypatch)
    _served.clear()


@pytest.fixture
def asgi_site(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    yield make_site("asgi", settings, monkeypatch)
    _served.clear()
