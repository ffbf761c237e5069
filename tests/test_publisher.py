from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from grip_consumers import discovery, publisher
from grip_consumers.exceptions import PublishError
from grip_consumers.protocol import PUBLISH_MAX, CloseAction, Exchange, Item, Key, TextMessage, Verifier, decode
from grip_consumers.publisher import apublish, publish, submit
from grip_consumers.testing.processes import wait_until
from grip_consumers.testing.pushpin import Pushpin, PushpinMissingError
from tests.control_ports import Handler, Proxy

SECRET = "the-key-of-publishing"


@pytest.fixture
def start() -> Iterator[Callable[[], Proxy]]:
    with ExitStack() as stack:

        def start_one() -> Proxy:
            proxy = Proxy()
            stack.callback(proxy.stop)
            return proxy

        yield start_one


@pytest.fixture(autouse=True)
def _fresh_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(publisher, "_processes", processes := {})
    monkeypatch.setattr(discovery, "announced", list)
    yield
    for process in processes.values():
        process.pool.clear()
        for lane in [*process._lanes.values(), *process._queues.values()]:
            lane._threads.shutdown()


@pytest.fixture
def proxy(start: Callable[[], Proxy], settings: Any) -> Proxy:
    proxy = start()
    settings.GRIP_PROXIES = [{"control_uri": proxy.uri}]
    return proxy


@pytest.fixture(params=["publish", "apublish"])
def either(request: pytest.FixtureRequest) -> Callable[[list[Item]], None]:
    return publish if request.param == "publish" else lambda items: asyncio.run(apublish(items))


def text(content: str, **more: Any) -> Item:
    return Item("room", TextMessage(content), **more)


def free_address() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_items_arrive_in_order_as_one_post(proxy: Proxy, either: Any) -> None:
    either([text("a", id="1", meta={"skip_users": "x"}), Item("other", CloseAction(4000, "bye"), id="2")])
    ((path, headers, body),) = proxy.posts
    assert (path, headers["Content-Type"]) == ("/publish/", "application/json")
    assert json.loads(body)["items"] == [
        {"channel": "room", "id": "1", "meta": {"skip_users": "x"}, "formats": {"ws-message": {"content": "a"}}},
        {"channel": "other", "id": "2", "formats": {"ws-message": {"action": "close", "code": 4000, "reason": "bye"}}},
    ]


def test_nothing_to_publish_asks_nobody(proxy: Proxy, either: Any) -> None:
    either([])
    assert proxy.posts == []


def test_every_item_gets_an_id_of_its_own(proxy: Proxy, either: Any) -> None:
    either([text("a"), text("b"), text("c", id="mine")])
    ids = [item["id"] for item in proxy.items]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"


def test_one_publish_after_the_other_uses_one_connection(proxy: Proxy) -> None:
    for number in range(5):
        publish([text(str(number))])
    assert proxy.texts == list("01234")
    assert proxy.connections == 1


def test_all_proxies_get_the_items(start: Any, settings: Any, either: Any) -> None:
    proxies = [start() for _ in range(3)]
    settings.GRIP_PROXIES = [{"control_uri": proxy.uri} for proxy in proxies]
    for number in range(4):
        either([text(f"{number}a"), text(f"{number}b")])
    assert {tuple(proxy.texts) for proxy in proxies} == {("0a", "0b", "1a", "1b", "2a", "2b", "3a", "3b")}


def test_proxies_that_fail_are_named_and_the_others_got_the_items(start: Any, settings: Any, either: Any) -> None:
    good, forbidding, failing, hanging, redirecting = (start() for _ in range(5))
    refusing, released = free_address(), threading.Event()
    forbidding.answer = lambda handler: handler.reply(403, b"Invalid token\n")
    failing.answer = lambda handler: handler.reply(500, b"\xffOops")
    hanging.answer = lambda handler: released.wait(10)
    redirecting.answer = lambda handler: handler.reply(307, b"", Location=good.uri + "/publish/")
    broken = [refusing, forbidding.uri, failing.uri, hanging.uri, redirecting.uri]
    settings.GRIP_PROXIES = [{"control_uri": uri} for uri in (*broken, good.uri)]
    settings.GRIP_PUBLISH_TIMEOUT = 0.5
    try:
        with pytest.raises(PublishError) as caught:
            either([text("a")])
    finally:
        released.set()
    failures = caught.value.failures
    assert set(failures) == set(broken)
    assert "refused" in failures[refusing]
    assert failures[forbidding.uri] == "expected status 200, got 403: Invalid token"
    assert failures[failing.uri] == "expected status 200, got 500: �Oops"
    assert "timed out" in failures[hanging.uri]
    assert "got 307" in failures[redirecting.uri]
    assert good.texts == ["a"]
    assert len(hanging.posts) == 1


def test_the_only_proxy_is_named_when_it_fails(settings: Any, either: Any) -> None:
    settings.GRIP_URL = f"{free_address()}/base"
    with pytest.raises(PublishError) as caught:
        either([text("a")])
    assert list(caught.value.failures) == [settings.GRIP_URL]


def test_a_later_part_is_not_sent_when_an_earlier_one_failed(proxy: Proxy) -> None:
    proxy.answer = lambda handler: handler.reply(500)
    with pytest.raises(PublishError):
        publish([text("a" * 600_000), text("b" * 600_000)])
    assert len(proxy.posts) == 1


@pytest.mark.parametrize("size", [100_000, 499_000, 999_000])
def test_what_is_too_large_for_one_post_comes_in_several_in_order(proxy: Proxy, either: Any, size: int) -> None:
    sent = [chr(ord("a") + number) * size for number in range(5)]
    either([text(content) for content in sent])
    assert proxy.texts == sent
    assert len(proxy.posts) == {100_000: 1, 499_000: 3, 999_000: 5}[size]
    assert max(len(body) for _, _, body in proxy.posts) <= PUBLISH_MAX


def test_an_item_that_no_proxy_would_take_is_refused_before_anything_is_sent(proxy: Proxy, either: Any) -> None:
    with pytest.raises(PublishError, match=r"one message makes 1,000,\d{3} bytes; a proxy takes 1,000,000"):
        either([text("small"), text("x" * PUBLISH_MAX)])
    assert proxy.posts == []


def test_the_size_is_that_of_the_encoded_text(proxy: Proxy) -> None:
    with pytest.raises(PublishError):
        publish([text("é" * 600_000)])
    publish([text("e" * 600_000)])
    assert len(proxy.posts) == 1


def test_a_kept_alive_connection_that_was_closed_is_tried_once_more_with_the_same_ids(
    proxy: Proxy, either: Any
) -> None:
    publish([text("a")])

    def hang_up_once(handler: Handler) -> None:
        proxy.answer = lambda handler: handler.reply(200)
        handler.hang_up()

    proxy.answer = hang_up_once
    either([text("b")])
    assert proxy.texts == ["a", "b", "b"]
    assert proxy.items[1]["id"] == proxy.items[2]["id"] != proxy.items[0]["id"]


def test_a_proxy_that_hangs_up_again_has_failed(proxy: Proxy, either: Any) -> None:
    proxy.answer = Handler.hang_up
    with pytest.raises(PublishError, match="ProtocolError"):
        either([text("a")])
    assert len(proxy.posts) == 2


def test_with_an_issuer_the_key_signs_a_token(start: Any, settings: Any, either: Any) -> None:
    proxy = start()
    for key in ("short", b"\x00" * 40):
        settings.GRIP_PROXIES = [{"control_uri": proxy.uri, "control_iss": "me", "key": key}]
        either([text("a")])
        scheme, _, token = proxy.posts.pop()[1]["Authorization"].partition(" ")
        claims = Verifier([Key.parse(key, "me")]).verify(token, time.time())
        assert (scheme, claims["iss"]) == ("Bearer", "me")
        assert 3_000 < claims["exp"] - time.time() <= 3_600


def test_without_an_issuer_the_key_is_the_token(start: Any, settings: Any, either: Any) -> None:
    proxy = start()
    settings.GRIP_URL = f"{proxy.uri}?key={SECRET}"
    either([text("a")])
    assert proxy.posts[0][1]["Authorization"] == f"Bearer {SECRET}"


def test_without_a_key_nothing_is_claimed(proxy: Proxy, either: Any) -> None:
    either([text("a")])
    assert "Authorization" not in proxy.posts[0][1]


def test_no_error_shows_a_credential(start: Any, settings: Any, either: Any) -> None:
    echoing = start()
    echoing.answer = lambda handler: handler.reply(401, str(handler.headers).encode()[:190] + SECRET.encode())
    settings.GRIP_PROXIES = [
        {"control_uri": f"{echoing.uri}/?token={SECRET}", "key": SECRET},
        {
            "control_uri": f"{free_address()}/?token={SECRET}".replace("http://", f"http://user:{SECRET}@"),
            "key": SECRET,
        },
        {"control_uri": f"http://user:{SECRET}@-bad-.invalid:1/?t={SECRET}", "control_iss": "x", "key": SECRET},
    ]
    with pytest.raises(PublishError) as caught:
        either([text("a")])
    assert len(caught.value.failures) == 3
    assert SECRET not in str(caught.value)
    assert echoing.posts[0][0] == f"/publish/?token={SECRET}"


def test_nothing_configured_is_an_error_in_production(
    settings: Any, either: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    either([text("in a test run nobody need be told")])
    monkeypatch.delattr("django.core.mail.outbox")
    with pytest.raises(ImproperlyConfigured, match=r"no GRIP proxy to publish to\. Set GRIP_URL"):
        either([text("a")])
    settings.DEBUG = True
    either([text("a")])


def test_an_empty_list_of_proxies_publishes_nowhere(
    start: Any, settings: Any, either: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = start()
    monkeypatch.setattr(discovery, "announced", lambda: [proxy.uri])
    for settings.GRIP_PROXIES in ([], ()):
        for settings.DEBUG in (True, False):
            either([text("a")])
    assert proxy.posts == []


def test_the_embedded_proxies_of_the_project_are_published_to(
    start: Any, settings: Any, either: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded, configured = start(), start()
    monkeypatch.setattr(discovery, "announced", lambda: [embedded.uri])
    either([text("a")])
    token = embedded.posts[0][1]["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, discovery.signing_key(), algorithms=["HS256"])
    assert claims["iss"] == discovery.ISSUER
    settings.GRIP_URL = configured.uri
    either([text("b")])
    settings.DEBUG = True
    either([text("c")])
    assert (embedded.texts, configured.texts) == (["a", "c"], ["b", "c"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_publishes_on_connections_of_its_own(start: Any, settings: Any) -> None:
    proxies = [start(), start()]
    settings.GRIP_PROXIES = [{"control_uri": proxy.uri} for proxy in proxies]
    asyncio.run(apublish([text("parent")]))
    assert any(thread.name.startswith("grip-publish") for thread in threading.enumerate())
    before = proxies[0].connections
    child = os.fork()
    if child == 0:
        try:
            publish([text("sync child")])
            asyncio.run(apublish([text("async child")]))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    asyncio.run(apublish([text("parent again")]))
    for proxy in proxies:
        assert proxy.texts == ["parent", "sync child", "async child", "parent again"]
    assert proxies[0].connections > before


async def test_apublish_does_not_block_the_loop(proxy: Proxy) -> None:
    released = threading.Event()
    proxy.answer = lambda handler: (released.wait(10), handler.reply(200))[1]
    publishing = asyncio.ensure_future(apublish([text("a")]))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not publishing.done()
    released.set()
    await publishing
    assert proxy.texts == ["a"]


async def test_an_apublish_that_is_cancelled_leaves_its_place_to_others(proxy: Proxy) -> None:
    released = threading.Event()
    proxy.answer = lambda handler: (released.wait(10), handler.reply(200))[1]
    publishing = [asyncio.ensure_future(apublish([text("a")])) for _ in range(publisher._CONCURRENCY + 20)]
    await asyncio.sleep(0)
    for task in publishing:
        task.cancel()
    assert {type(result) for result in await asyncio.gather(*publishing, return_exceptions=True)} == {
        asyncio.CancelledError
    }
    released.set()
    await apublish([text("b")])
    (lane,) = publisher._process()._lanes.values()
    places = publisher._CONCURRENCY + publisher._WAITING_MAX
    await asyncio.to_thread(wait_until, lambda: lane._places._value == places)


async def test_what_waits_is_bounded_and_the_rest_fails_at_once(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_CONCURRENCY", 2)
    monkeypatch.setattr(publisher, "_WAITING_MAX", 3)
    released = threading.Event()
    proxy.answer = lambda handler: (released.wait(10), handler.reply(200))[1]
    publishing = [asyncio.ensure_future(apublish([text(str(number))])) for number in range(8)]
    await asyncio.wait(publishing, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    failed = [task for task in publishing if task.done()]
    assert failed == publishing[5:]
    assert "3 publishes are already waiting for it in this process" in str(failed[0].exception())
    assert all(task.exception() for task in failed)
    released.set()
    await asyncio.gather(*publishing[:5])
    assert sorted(proxy.texts) == list("01234")


def test_a_proxy_that_hangs_does_not_hold_up_another(start: Any, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(publisher, "_CONCURRENCY", 2)
    hanging, good, released = start(), start(), threading.Event()
    hanging.answer = lambda handler: (released.wait(10), handler.reply(200))[1]
    settings.GRIP_PROXIES = [{"control_uri": hanging.uri}, {"control_uri": good.uri}]
    with ThreadPoolExecutor(6) as threads:
        publishing = [threads.submit(publish, [text(str(number))]) for number in range(6)]
        wait_until(lambda: sorted(good.texts) == list("012345"))
        assert not any(future.done() for future in publishing)
        released.set()
    assert [future.result() for future in publishing] == [None] * 6


def test_more_threads_than_connections_wait_their_turn(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_CONCURRENCY", 3)
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: publish([text(str(number))]), range(60)))
    assert len(proxy.texts) == 60
    assert proxy.connections <= 3


# Without waiting ------------------------------------------------------------------------------------------


@contextmanager
def hanging(proxy: Proxy) -> Iterator[None]:
    """A proxy that answers nothing within the block."""
    released = threading.Event()
    proxy.answer = lambda handler: (released.wait(10), handler.reply(200))[1]
    submit([text("first")])
    wait_until(lambda: proxy.posts)
    yield
    released.set()
    publisher.wait()


def test_a_burst_is_delivered_in_order_by_few_posts(proxy: Proxy) -> None:
    outcomes: list[dict[str, str]] = []
    with hanging(proxy):
        for number in range(3_000):
            submit([text(f"{number}a"), text(f"{number}b")], outcomes.append)
    assert proxy.texts[1:] == [f"{number}{part}" for number in range(3_000) for part in "ab"]
    assert outcomes == [{}] * 3_000
    assert len(proxy.posts) < 20
    assert max(len(body) for _, _, body in proxy.posts) <= PUBLISH_MAX


def test_what_takes_several_posts_is_not_joined_with_others(proxy: Proxy) -> None:
    large = "x" * (PUBLISH_MAX * 2 // 3)
    with hanging(proxy):
        submit([text("a")])
        submit([text(large), text(large)])
        submit([text("b")])
        submit([text("c")])
    assert [len(json.loads(body)["items"]) for _, _, body in proxy.posts] == [1, 1, 1, 1, 2]


def test_one_that_a_proxy_refuses_does_not_fail_those_it_was_joined_with(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[str] = []

    def note(failures: dict[str, str]) -> None:
        outcomes.append(next(iter(failures.values()), "delivered"))

    with hanging(proxy):
        for content in ("a", "bad", "b"):
            submit([text(content)], note)
        proxy.answer = lambda handler: handler.reply(400 if b'"bad"' in proxy.posts[-1][2] else 200)
    assert outcomes == ["delivered", "expected status 200, got 400: Published", "delivered"]
    assert caplog.text.count("A publish") == 1


def test_a_proxy_that_fails_is_logged_once_for_a_post(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    outcomes: list[dict[str, str]] = []
    with hanging(proxy):
        for number in range(50):
            submit([text(str(number))], outcomes.append)
        proxy.answer = lambda handler: handler.reply(500)
    assert [len(found) for found in outcomes] == [1] * 50
    assert caplog.text.count("50 publishes to") == caplog.text.count("got 500") == 1


def test_what_waits_without_a_caller_is_bounded_and_logged_once(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publisher, "_QUEUE_MAX", 2_000)
    outcomes: list[dict[str, str]] = []
    with hanging(proxy):
        for _ in range(40):
            submit([text("x" * 100)], outcomes.append)
        refused = len(outcomes)
        assert 20 < refused < 40
    assert len(outcomes) == 40
    assert all("bytes are already waiting for it" in str(found) for found in outcomes[:refused])
    assert not any(outcomes[refused:])
    assert caplog.text.count("already waiting") == 1
    submit([text("y")], outcomes.append)
    publisher.wait()
    assert outcomes[-1] == {}


def test_what_is_told_an_outcome_may_fail(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    def broken(failures: dict[str, str]) -> None:
        raise ValueError("from a callback")

    submit([text("a")], broken)
    submit([text("b")])
    publisher.wait()
    assert proxy.texts == ["a", "b"]
    assert "from a callback" in caplog.text


# A real proxy --------------------------------------------------------------------------------------------


@contextmanager
def a_backend() -> Iterator[Proxy]:
    """A backend that accepts every WebSocket and subscribes it to the channel "room"."""
    backend = Proxy()

    def accept(handler: Handler) -> None:
        exchange = Exchange(decode(backend.posts[-1][2]))
        while exchange.next_event() is not None:
            if exchange.opening:
                exchange.accept()
                exchange.subscribe("room")
                exchange.send_text("ready")
        response = exchange.response()
        handler.reply(response.status, response.body, **dict(response.headers))

    backend.answer = accept
    try:
        yield backend
    finally:
        backend.stop()


def rest_of(client: Any) -> Iterator[str]:
    with suppress(ConnectionClosed):
        while True:
            yield client.recv(timeout=5)


def test_a_real_pushpin_delivers_what_was_published(settings: Any) -> None:
    with a_backend() as backend, ExitStack() as stack:
        try:
            pushpin = stack.enter_context(Pushpin(int(backend.uri.rpartition(":")[2])))
        except PushpinMissingError as error:
            pytest.fail(str(error)) if os.environ.get("CI") == "true" else pytest.skip(str(error))
        settings.GRIP_URL = pushpin.grip_url
        with connect(f"{pushpin.ws_url}/chat/") as client:
            assert client.recv(timeout=5) == "ready"
            # The subscription becomes active a little after the accept: publish until the first one arrives.
            arrived = None
            while arrived is None:
                publish([text("again")])
                try:
                    arrived = client.recv(timeout=0.2)
                except TimeoutError:
                    continue
            same = text("é", id="one")
            publish([same, text("x" * 190_000)])
            publish([same, Item("room", CloseAction(4001, "bye"))])
            received = list(rest_of(client))
            assert [message for message in received if message != "again"] == ["é", "x" * 190_000]
            assert (client.close_code, client.close_reason) == (4001, "bye")
