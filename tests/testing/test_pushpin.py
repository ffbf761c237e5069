from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import jwt
import pytest
from websockets.sync.client import connect

from grip_consumers.command_socket import CommandSocket
from grip_consumers.testing import pushpin
from grip_consumers.testing.processes import answers, free_block, running
from grip_consumers.testing.pushpin import Pushpin, PushpinMissingError

needs_pushpin = pytest.mark.skipif(shutil.which("pushpin") is None, reason="pushpin is not installed")

SUBSCRIBE = b'c:{"type": "subscribe", "channel": "all"}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: bytes

    def do_GET(self) -> None:
        self.reply(self.answer, "text/plain")

    def do_POST(self) -> None:
        self.seen.append(self.headers["Grip-Sig"])
        opening = self.rfile.read(int(self.headers["Content-Length"])) == b"OPEN\r\n"
        body = b"OPEN\r\nTEXT %x\r\n%s\r\nTEXT 4\r\nm:in\r\n" % (len(SUBSCRIBE), SUBSCRIBE) if opening else b""
        self.reply(body, "application/websocket-events")

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Sec-WebSocket-Extensions", "grip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    seen: list[str]


@contextmanager
def backend(answer: bytes) -> Iterator[tuple[int, list[str]]]:
    handler = type("Own", (Handler,), {"answer": answer, "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, handler.seen  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(url: str, body: bytes | None = None) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, body, timeout=10) as response:
        content: bytes = response.read()
        return content


@needs_pushpin
def test_a_private_pushpin_proxies_signs_and_publishes_and_leaves_nothing_behind() -> None:
    with backend(b"one") as (port, seen), backend(b"two") as (other, _), Pushpin(port) as instance:
        folder = Path(instance._folder.name)  # type: ignore[union-attr]
        group = instance._process.pid  # type: ignore[union-attr]
        assert get(instance.url) == b"one"
        with connect(instance.ws_url, proxy=None) as client:
            assert client.recv(timeout=10) == "in"
            item = {"channel": "all", "formats": {"ws-message": {"content": "published"}}}
            body = json.dumps({"items": [item]}).encode()
            received: str | bytes | None = None
            for _attempt in range(100):
                # The subscription becomes active a little after the response.
                assert get(f"{instance.control_uri}/publish/", body) == b"Published\n"
                try:
                    received = client.recv(timeout=0.1)
                    break
                except TimeoutError:
                    continue
            assert received == "published"
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(instance.grip_url).query)
        (key,) = query["verify-key"]
        assert jwt.decode(seen[0], key, algorithms=["HS256"])["iss"] == "pushpin"
        instance.route_to(other)
        assert get(instance.url) == b"two"
        with closing(CommandSocket(instance.command_uri)) as command:
            command.probe(10)
        assert "started" in instance.log()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


@needs_pushpin
def test_two_instances_run_side_by_side() -> None:
    with backend(b"one") as (port, seen), Pushpin(port) as first, Pushpin(port) as second:
        assert first.port != second.port
        assert seen == [], "The backend is not asked whether Pushpin is ready."
        assert get(first.url) == get(second.url) == b"one"


@needs_pushpin
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_what_to_set_and_takes_pushpin_along_when_it_ends(number: signal.Signals) -> None:
    first = free_block(5)
    ports = ["--port", str(first + 4), "--control-port", str(first + 1)]
    with backend(b"one") as (port, _):
        command = [
            sys.executable,
            "-u",
            "-m",
            "grip_consumers.testing.pushpin",
            *ports,
            "--backend",
            str(port),
        ]
        with running(command, ready=lambda process: "GRIP_URL" in process.log()) as process:
            assert re.search(rf'GRIP_URL = "http://127\.0\.0\.1:{first + 1}\?verify-key=\w+"', process.log())
            assert get(f"http://127.0.0.1:{first + 4}/") == b"one"
            os.kill(process.pid, number)
            assert process.wait() == 0
            assert answers(first + 4, timeout=0.5) is None


def test_without_pushpin_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    pushpin.version.cache_clear()
    instance = Pushpin(1)
    with pytest.raises(PushpinMissingError, match="apt-get install pushpin"), instance:
        pass
    assert instance._folder is None


@pytest.mark.parametrize(
    ("number", "services"),
    [((1, 36, 0), "condure,zurl,pushpin-proxy,pushpin-handler"), ((1, 41, 0), "connmgr,proxy,handler")],
)
def test_the_services_depend_on_the_version(
    number: tuple[int, ...], services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushpin, "version", lambda: number)
    monkeypatch.setattr(pushpin, "_program", lambda name: name)
    assert pushpin._services() == services


def test_what_is_not_running_has_no_log_and_can_be_stopped() -> None:
    instance = Pushpin(1)
    instance.stop()
    with pytest.raises(RuntimeError, match="not running"):
        instance.log()


def test_the_grip_url_carries_a_key_that_has_to_be_quoted() -> None:
    instance = Pushpin(1, sig_key="a+b&c=d e")
    query = urllib.parse.urlsplit(instance.grip_url).query
    assert urllib.parse.parse_qs(query) == {"verify-key": ["a+b&c=d e"]}
