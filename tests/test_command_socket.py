from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import tnetstring

from grip_consumers.command_socket import CommandError, CommandSocket, is_installed
from grip_consumers.testing.processes import free_port, wait_until
from grip_consumers.testing.pushpin import Pushpin, PushpinMissingError
from tests.control_ports import Responder, responding, silence, success

PATIENCE = 5.0


@pytest.fixture
def responder() -> Iterator[Responder]:
    with responding() as responder:
        yield responder


@pytest.fixture
def connect() -> Iterator[Callable[[str], CommandSocket]]:
    with ExitStack() as stack:

        def connect_one(uri: str) -> CommandSocket:
            command = CommandSocket(uri)
            stack.callback(command.close)
            return command

        yield connect_one


def test_a_refresh_names_its_channel(responder: Responder, connect: Any) -> None:
    connect(responder.uri).refresh("röom", PATIENCE)
    (request,) = responder.requests
    assert request == {b"id": request[b"id"], b"method": b"refresh", b"args": {b"channel": "röom".encode()}}


def test_a_probe_changes_nothing(responder: Responder, connect: Any) -> None:
    connect(responder.uri).probe(PATIENCE)
    (request,) = responder.requests
    assert request == {b"id": request[b"id"], b"method": b"get-zmq-uris"}


@pytest.mark.parametrize("place", ["{}/command", pytest.param("@{}", id="abstract")])
def test_a_unix_socket_will_do(place: str, tmp_path: Path, connect: Any) -> None:
    if place.startswith("@") and sys.platform != "linux":
        pytest.skip("abstract names are Linux's own")
    with responding(f"ipc://{place.format(tmp_path)}") as responder:
        connect(responder.uri).refresh("room", PATIENCE)
    assert responder.channels == ["room"]


def test_a_name_will_do_for_a_host(responder: Responder, connect: Any) -> None:
    connect(responder.uri.replace("127.0.0.1", "localhost")).refresh("room", PATIENCE)
    assert responder.channels == ["room"]


def test_one_request_after_the_other_uses_one_connection(responder: Responder, connect: Any) -> None:
    command = connect(responder.uri)
    for _ in range(5):
        command.refresh("room", PATIENCE)
    assert len(command._idle) == 1
    assert len({request[b"id"] for request in responder.requests}) == 5


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(responder: Responder, connect: Any) -> None:
    def the_bad_are_refused(request: dict[bytes, Any]) -> bytes:
        if request[b"args"][b"channel"].startswith(b"bad"):
            return tnetstring.dumps({b"id": request[b"id"], b"success": False, b"condition": b"bad-request"})
        return success(request)

    responder.answer = the_bad_are_refused
    command = connect(responder.uri)

    def ask(number: int) -> str:
        try:
            command.refresh(f"{'bad' if number % 3 == 0 else 'good'}{number}", PATIENCE)
        except CommandError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(ask, range(60)))
    assert outcomes == ["refused: bad-request" if number % 3 == 0 else "" for number in range(60)]
    assert len(command._idle) <= 6


@pytest.mark.parametrize("uri", ["tcp", "ipc"])
def test_nobody_there_is_told_at_once(uri: str, tmp_path: Path, connect: Any) -> None:
    address = f"tcp://127.0.0.1:{free_port()}" if uri == "tcp" else f"ipc://{tmp_path}/none"
    started = time.monotonic()
    with pytest.raises(CommandError, match=r"ConnectionRefused|FileNotFound"):
        connect(address).probe(PATIENCE)
    assert time.monotonic() - started < 0.5


def test_something_that_is_no_zeromq_is_told_after_the_timeout(connect: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(CommandError, match=r"no ZeroMQ connection"):
        connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}").probe(0.2)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"garbage", "expected the reply of a command socket, got b'garbage'"),
        (b"", "expected the reply of a command socket, got b''"),
        (tnetstring.dumps([1]), "expected the reply of a command socket"),
        (tnetstring.dumps({b"id": b"1"}), "expected the reply of a command socket"),
        (tnetstring.dumps({b"success": False, b"condition": b"method-not-found"}), "refused: method-not-found"),
        (tnetstring.dumps({b"success": b"true"}), "refused: "),
    ],
)
def test_an_answer_that_is_none_is_quoted(responder: Responder, connect: Any, reply: bytes, expected: str) -> None:
    responder.answer = lambda request: reply
    with pytest.raises(CommandError) as caught:
        connect(responder.uri).probe(PATIENCE)
    assert str(caught.value).startswith(expected)


def test_after_a_timeout_a_late_answer_is_not_taken_for_another(responder: Responder, connect: Any) -> None:
    released = threading.Event()

    def late(request: dict[bytes, Any]) -> bytes:
        released.wait(PATIENCE)
        return tnetstring.dumps({b"success": False, b"condition": b"late"})

    responder.answer = late
    command = connect(responder.uri)
    with pytest.raises(CommandError, match=r"no reply within 0\.1 s"):
        command.probe(0.1)
    responder.answer = success
    released.set()
    command.refresh("room", PATIENCE)


def test_a_refresh_that_takes_long_is_waited_for_while_others_are_answered(responder: Responder, connect: Any) -> None:
    released = threading.Event()
    responder.answer = lambda request: (
        success(request) if request[b"method"] != b"refresh" or released.wait(PATIENCE) else None
    )
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(connect(responder.uri).refresh, "room", 0.1)
        wait_until(lambda: responder.probes >= 3)
        assert not asking.done()
        released.set()
        asking.result(PATIENCE)
    assert responder.channels == ["room"]


def test_a_proxy_that_answers_nothing_has_failed_after_the_timeout(responder: Responder, connect: Any) -> None:
    responder.answer = silence
    with pytest.raises(CommandError, match=r"no reply within 0\.1 s"):
        connect(responder.uri).refresh("room", 0.1)
    assert len(responder.requests) == 2


def test_a_restart_between_two_requests_is_not_noticed(connect: Any) -> None:
    with responding() as first:
        command = connect(first.uri)
        command.refresh("one", PATIENCE)
    with pytest.raises(CommandError, match="refused"):
        command.refresh("two", PATIENCE)
    with responding(first.uri) as second:
        command.refresh("three", PATIENCE)
    assert second.channels == ["three"]


def test_a_request_that_was_lost_with_its_connection_is_made_again(responder: Responder, connect: Any) -> None:
    responder.answer = silence
    with Relay(responder) as relay, ThreadPoolExecutor(1) as threads:
        asking = threads.submit(connect(relay.uri).refresh, "room", PATIENCE)
        wait_until(lambda: responder.channels == ["room"])
        responder.answer = success
        relay.cut()
        asking.result(PATIENCE)
    assert responder.channels == ["room", "room"]


def test_a_request_that_is_lost_again_has_failed(responder: Responder, connect: Any) -> None:
    responder.answer = silence
    with Relay(responder) as relay, ThreadPoolExecutor(1) as threads:
        asking = threads.submit(connect(relay.uri).refresh, "room", PATIENCE)
        for count in (1, 2):
            wait_until(lambda count=count: len(responder.channels) == count)
            relay.cut()
        with pytest.raises(CommandError, match="the connection was closed before the reply came"):
            asking.result(PATIENCE)


class Relay:
    """A way to a responder whose connections can be cut, as when a proxy is restarted."""

    def __init__(self, responder: Responder) -> None:
        self._target = int(responder.uri.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def uri(self) -> str:
        return f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def cut(self) -> None:
        while self._pairs:
            for end in self._pairs.pop():
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, far = self._listener.accept()[0], socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                for source, sink in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._copy, args=(source, sink)))
                    self._threads[-1].start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source:
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


def test_without_its_packages_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed()
    for name in ("zmq", "tnetstring"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            assert not is_installed()


def test_a_real_pushpin_answers_until_it_ends(connect: Any) -> None:
    with ExitStack() as stack:
        try:
            pushpin = stack.enter_context(Pushpin(1))
        except PushpinMissingError as error:
            pytest.fail(str(error)) if os.environ.get("CI") == "true" else pytest.skip(str(error))
        command = connect(pushpin.command_uri)
        command.probe(PATIENCE)
        command.refresh("nobody is here", PATIENCE)
        with pytest.raises(CommandError, match="method-not-found"):
            command._call("nonsense", {}, PATIENCE, patience=1)
    with pytest.raises(CommandError, match="refused"):
        command.probe(PATIENCE)
