"""The contenders of the in-process benchmarks: each an echo, set up as its documentation says.

Run as a script with a contender's name, it reads a number of batches from each line of standard input and prints
the CPU microseconds that one of them took.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

Run = Callable[[int], float]

#: What a browser and Pushpin send with a batch.
HEADERS = {
    "Host": "chat.example",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept-Language": "en-US,en;q=0.5",
    "Origin": "https://chat.example",
    "Cookie": "csrftoken=1234567890abcdefghijklmnopqrstuv; sessionid=abcdefghijklmnopqrstuvwxyz012345",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Extensions": "grip",
    "Connection-Id": "4b4f9a1c-2a57-4b0e-a2b5-0a6b8f6d2c11",
    "Grip-Feature": "status, session, link:next, link:gone, filter:skip-self, filter:skip-users",
    "Accept": "application/websocket-events",
}
CONTENT_TYPE = "application/websocket-events"
TEXT = b"TEXT d\r\nHello, world!\r\n"


def configure(**settings: Any) -> None:
    import django
    from django.conf import settings as django_settings

    django_settings.configure(
        SECRET_KEY="benchmark" * 6, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None, **settings
    )
    # The URLs are found in this module, which runs as a script.
    sys.modules.setdefault("contenders", sys.modules[__name__])
    django.setup()


urlpatterns: list[Any] = []


def wsgi_batch(handler: Any, body: bytes, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/echo/",
        "QUERY_STRING": "",
        "CONTENT_TYPE": CONTENT_TYPE,
        "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
    }
    for name, value in headers.items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    received: dict[str, str] = {}
    response = handler(environ, lambda status, fields: received.update(fields, status=status))
    content = b"".join(response)
    if hasattr(response, "close"):
        response.close()
    return received, content


def timed_wsgi(handler: Any, headers: dict[str, str]) -> Run:
    received, content = wsgi_batch(handler, TEXT, headers)
    if content != b"TEXT f\r\nm:Hello, world!\r\n":
        raise SystemExit(f"not an echo: {received} {content!r}")

    def run(batches: int) -> float:
        start = time.process_time()
        for _ in range(batches):
            wsgi_batch(handler, TEXT, headers)
        return (time.process_time() - start) / batches * 1e6

    return run


def django_grip() -> Run:
    """Its README's echo: a view with `websocket_only` that reads and sends in a loop."""
    configure(MIDDLEWARE=["django_grip.GripMiddleware"], GRIP_URL="http://127.0.0.1:5561")
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path
    from django_grip import websocket_only

    @websocket_only
    def echo(request: Any) -> HttpResponse:
        ws = request.wscontext
        if ws.is_opening():
            ws.accept()
        while ws.can_recv():
            message = ws.recv()
            if message is None:
                ws.close()
                break
            ws.send(message)
        return HttpResponse()

    urlpatterns.append(path("echo/", echo))
    return timed_wsgi(WSGIHandler(), HEADERS)


def ours_wsgi_middleware() -> Run:
    configure(MIDDLEWARE=["grip_consumers.GripMiddleware"], ASGI_APPLICATION=f"{__name__}.application", GRIP_PROXIES=[])
    from django.core.handlers.wsgi import WSGIHandler

    return ours_wsgi(WSGIHandler())


def ours_wsgi_application() -> Run:
    configure(ASGI_APPLICATION=f"{__name__}.application", GRIP_PROXIES=[])
    from grip_consumers.wsgi import get_wsgi_application

    return ours_wsgi(get_wsgi_application())


def ours_wsgi(handler: Any) -> Run:
    from grip_consumers.generic.websocket import WebsocketConsumer

    class Echo(WebsocketConsumer):
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.send(text_data=text_data)

    route(Echo)
    opened, _ = wsgi_batch(handler, b"OPEN\r\n", HEADERS)
    return timed_wsgi(handler, {**HEADERS, "Meta-State": opened["Set-Meta-State"]})


def ours_asgi_async() -> Run:
    configure(GRIP_PROXIES=[])
    from grip_consumers.generic.websocket import AsyncWebsocketConsumer

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(text_data=text_data)

    route(Echo)
    loop = asyncio.new_event_loop()
    opened, _ = loop.run_until_complete(asgi_batch(b"OPEN\r\n", HEADERS))
    headers = {**HEADERS, "Meta-State": opened["set-meta-state"]}
    answered, content = loop.run_until_complete(asgi_batch(TEXT, headers))
    if content != b"TEXT f\r\nm:Hello, world!\r\n":
        raise SystemExit(f"not an echo: {answered} {content!r}")

    async def many(batches: int) -> float:
        start = time.process_time()
        for _ in range(batches):
            await asgi_batch(TEXT, headers)
        return (time.process_time() - start) / batches * 1e6

    return lambda batches: loop.run_until_complete(many(batches))


application: Any = None


def route(consumer: Any) -> None:
    """Routes `consumer` to /echo/, as importable as a project's own."""
    from django.urls import path
    from grip_consumers.routing import ProtocolTypeRouter, URLRouter

    global application
    consumer.__qualname__, consumer.__module__ = consumer.__name__, __name__
    globals()[consumer.__name__] = consumer
    application = ProtocolTypeRouter({"websocket": URLRouter([path("echo/", consumer.as_asgi())])})


async def asgi_batch(body: bytes, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/echo/",
        "raw_path": b"/echo/",
        "query_string": b"",
        "headers": [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body)), *fields],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"]


def channels_async() -> Run:
    """One connection, one message at a time: what its server does around that is left out."""
    configure(CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}})
    from channels.generic.websocket import AsyncWebsocketConsumer

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(text_data=text_data)

    loop = asyncio.new_event_loop()
    incoming: asyncio.Queue[Any] = asyncio.Queue()
    outgoing: asyncio.Queue[Any] = asyncio.Queue()
    scope = {"type": "websocket", "path": "/echo/", "headers": [], "subprotocols": []}

    async def connect() -> None:
        global connection
        connection = asyncio.ensure_future(Echo.as_asgi()(scope, incoming.get, outgoing.put))
        await incoming.put({"type": "websocket.connect"})
        await outgoing.get()

    async def many(batches: int) -> float:
        start = time.process_time()
        for _ in range(batches):
            await incoming.put({"type": "websocket.receive", "text": "Hello, world!"})
            await outgoing.get()
        return (time.process_time() - start) / batches * 1e6

    loop.run_until_complete(connect())
    return lambda batches: loop.run_until_complete(many(batches))


connection: Any = None

CONTENDERS: dict[str, Callable[[], Run]] = {
    "django-grip, WSGI view": django_grip,
    "grip_consumers, WSGI sync": ours_wsgi_application,
    "… by GripMiddleware": ours_wsgi_middleware,
    "grip_consumers, ASGI async": ours_asgi_async,
    "Channels, async consumer": channels_async,
}


def serve(name: str) -> None:
    run = CONTENDERS[name]()
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)
    # Channels' connection is still open: nobody waits for its tasks.
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
