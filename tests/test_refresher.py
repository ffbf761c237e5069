from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

import pytest
import tnetstring
from django.core.exceptions import ImproperlyConfigured
from websockets.asyncio.client import ClientConnection, connect

from grip_consumers import discovery, publisher, refresher
from grip_consumers.discovery import ISSUER
from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.exceptions import PublishError
from grip_consumers.refresher import ais_late, arefresh, is_late, refresh, ways
from grip_consumers.testing import pushpin as launcher
from grip_consumers.testing.processes import free_port, wait_until
from grip_consumers.testing.pushpin import Pushpin, PushpinMissingError
from tests.control_ports import Handler, Proxy, Responder, responding, silence, success
from tests.embedded.rig import KEY, OPEN, Backend, Reply, Seen, control, serve, text

PATIENCE = 5.0
PROBE = "!grip-consumers!probe"


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(publisher, "_processes", publishers := {})
    monkeypatch.setattr(refresher, "_processes", refreshers := {})
    monkeypatch.setattr(discovery, "announced", list)
    yield
    for process in refreshers.values():
        for agent in process._agents.values():
            agent._lane._threads.shutdown()
            if agent._socket is not None:
                agent._socket.close()
    for process in publishers.values():
        process.pool.clear()


@pytest.fixture
def start() -> Iterator[Callable[[], Proxy]]:
    with ExitStack() as stack:

        def start_one() -> Proxy:
            proxy = Proxy()
            stack.callback(proxy.stop)
            return proxy

        yield start_one


@pytest.fixture
def old(start: Any) -> Proxy:
    """A control port that takes no refreshes, as Pushpin 1.36's."""
    proxy: Proxy = start()
    proxy.answer = invalid_format
    return proxy


def invalid_format(handler: Handler) -> None:
    handler.reply(400, b"Invalid format: \n")


@pytest.fixture
def responder() -> Iterator[Responder]:
    with responding() as responder:
        yield responder


@pytest.fixture
def by_command(old: Proxy, responder: Responder, settings: Any) -> Responder:
    """The command socket of the only proxy."""
    settings.GRIP_PROXIES = [{"control_uri": old.uri, "control_zmq_uri": responder.uri}]
    return responder


@pytest.fixture
def by_publish(start: Any, settings: Any) -> Proxy:
    """The control port of the only proxy, which takes refreshes."""
    proxy: Proxy = start()
    settings.GRIP_PROXIES = [{"control_uri": proxy.uri, "control_zmq_uri": f"tcp://127.0.0.1:{free_port()}"}]
    return proxy


@pytest.fixture(params=["refresh", "arefresh"])
def either(request: pytest.FixtureRequest) -> Callable[..., None]:
    return refresh if request.param == "refresh" else lambda *args: asyncio.run(arefresh(*args))


def refreshed(proxy: Proxy) -> list[str]:
    """The channels of published refreshes, without the probe."""
    return [
        item["channel"]
        for item in proxy.items
        if item["formats"] == {"ws-message": {"action": "refresh"}} and item["channel"] != PROBE
    ]


def probes(proxy: Proxy) -> int:
    return [item["channel"] for item in proxy.items].count(PROBE)


@contextmanager
def without_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "zmq", None)
        yield


# Which way -----------------------------------------------------------------------------------------------


def test_the_command_socket_is_preferred(by_command: Responder, old: Proxy, either: Any) -> None:
    either(["a", "b"])
    assert sorted(by_command.channels) == ["a", "b"]
    assert old.posts == []
    assert ways() == {old.uri: "command socket"}
    assert not is_late()


def test_without_a_command_socket_refreshes_are_published(by_publish: Proxy, either: Any) -> None:
    either(["a", "b"])
    assert sorted(refreshed(by_publish)) == ["a", "b"]
    assert ways() == {by_publish.uri: "publish"}
    assert not is_late()


def test_a_proxy_that_takes_neither_is_late_and_says_once_what_to_do(
    old: Proxy,
    settings: Any,
    either: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.GRIP_PROXIES = [{"control_uri": old.uri, "control_zmq_uri": (uri := f"tcp://127.0.0.1:{free_port()}")}]
    for _ in range(3):
        either(["a"])
        assert is_late()
        assert asyncio.run(ais_late())
    assert ways() == {old.uri: "none"}
    assert probes(old) == 1
    monkeypatch.setattr(refresher, "_RECHECK", 0.0)
    either(["a"])
    assert probes(old) == 2
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("grip_consumers.refresher", logging.WARNING)
    for part in (old.uri, uri, "'control_zmq_uri' in its entry of GRIP_PROXIES", "Pushpin 1.38"):
        assert part in record.getMessage()


def test_without_its_packages_the_command_socket_is_not_used(
    by_command: Responder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, either: Any
) -> None:
    with without_packages(monkeypatch):
        either(["a"])
        assert is_late()
    assert by_command.requests == []
    assert "pip install 'grip-consumers[zmq]'" in caplog.text


def test_a_proxy_without_a_port_to_go_by_is_told_to_be_given_one(
    start: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.GRIP_URL = "https://proxy.example/base"
    monkeypatch.setattr(publisher, "deliver", lambda *args: publisher.Failure("no", 400))
    assert is_late()
    assert "To have it done at once, name its command socket as 'control_zmq_uri'" in caplog.text


def test_embedded_proxies_are_published_to_unasked(start: Any, monkeypatch: pytest.MonkeyPatch, either: Any) -> None:
    proxy = start()
    monkeypatch.setattr(discovery, "announced", lambda: [proxy.uri])
    either(["a"])
    assert [item["channel"] for item in proxy.items] == ["a"]
    assert not is_late()


def test_each_proxy_is_refreshed_in_its_own_way(
    by_command: Responder, start: Any, settings: Any, either: Any, old: Proxy
) -> None:
    new, none = start(), start()
    none.answer = invalid_format
    settings.GRIP_PROXIES = [*settings.GRIP_PROXIES, {"control_uri": new.uri}, {"control_uri": none.uri}]
    either(["a"])
    assert (by_command.channels, refreshed(new), refreshed(none)) == (["a"], ["a"], [])
    assert ways() == {old.uri: "command socket", new.uri: "publish", none.uri: "none"}
    assert is_late()


def test_how_a_proxy_is_refreshed_is_found_out_once(by_publish: Proxy, by_command: Responder, settings: Any) -> None:
    settings.GRIP_PROXIES = [
        {"control_uri": by_publish.uri},
        {"control_uri": "http://127.0.0.1:1", "control_zmq_uri": by_command.uri},
    ]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: refresh([str(number)]), range(20)))
        list(threads.map(lambda number: is_late(), range(20)))
    ways()
    assert (probes(by_publish), by_command.probes) == (1, 1)


def test_a_probe_is_of_a_channel_under_the_projects_prefix(by_publish: Proxy, settings: Any) -> None:
    settings.GRIP_PREFIX = "project-"
    ways()
    assert [item["channel"] for item in by_publish.items] == [f"project-{PROBE}"]


def test_a_proxy_that_is_late_is_looked_at_again_after_a_while(
    old: Proxy, settings: Any, monkeypatch: pytest.MonkeyPatch, either: Any
) -> None:
    settings.GRIP_URL = old.uri
    assert is_late()
    old.answer = lambda handler: handler.reply(200)
    either(["a"])
    assert is_late()
    assert refreshed(old) == []
    monkeypatch.setattr(refresher, "_RECHECK", 0.0)
    either(["b"])
    assert not is_late()
    assert refreshed(old) == ["b"]


def test_looking_again_holds_nobody_up(old: Proxy, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GRIP_URL = old.uri
    assert is_late()
    released = threading.Event()
    old.answer = lambda handler: (released.wait(PATIENCE), handler.reply(200))[1]
    monkeypatch.setattr(refresher, "_RECHECK", 0.0)
    assert all(is_late() for _ in range(10))
    wait_until(lambda: probes(old) == 2)
    released.set()
    wait_until(lambda: not is_late())
    assert probes(old) == 2


# Failures ------------------------------------------------------------------------------------------------


def test_a_proxy_that_is_down_is_an_error_and_no_verdict(settings: Any, either: Any) -> None:
    port = free_port()
    settings.GRIP_URL = f"http://127.0.0.1:{port}"
    for _ in range(2):
        with pytest.raises(PublishError) as caught:
            either(["a"])
        assert list(caught.value.failures) == [settings.GRIP_URL]
        assert "refused" in str(caught.value)
    with pytest.raises(PublishError, match="refused"):
        ways()
    assert not is_late()


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
def test_a_refusal_is_an_error_and_no_verdict(by_publish: Proxy, either: Any, status: int) -> None:
    by_publish.answer = lambda handler: handler.reply(status)
    with pytest.raises(PublishError, match=f"got {status}"):
        either(["a"])
    by_publish.answer = lambda handler: handler.reply(200)
    either(["b"])
    assert refreshed(by_publish) == ["b"]


def test_to_be_late_a_proxy_that_does_not_answer_is_not_asked_all_the_time(by_publish: Proxy) -> None:
    by_publish.answer = lambda handler: handler.reply(503)
    assert not any(is_late() for _ in range(10))
    (agent,) = refresher._process()._agents.values()
    agent._lane._threads.shutdown()
    assert len(by_publish.posts) == 1


def test_proxies_that_fail_are_named_and_the_others_were_asked(
    by_command: Responder, start: Any, settings: Any, either: Any
) -> None:
    good, failing = start(), start()
    failing.answer = lambda handler: handler.reply(500, b"Oops")
    broken = [failing.uri, f"http://127.0.0.1:{free_port()}"]
    settings.GRIP_PROXIES = [*settings.GRIP_PROXIES, *({"control_uri": uri} for uri in (*broken, good.uri))]
    with pytest.raises(PublishError) as caught:
        either(["a", "b"])
    assert list(caught.value.failures) == broken
    assert caught.value.failures[failing.uri] == "expected status 200, got 500: Oops"
    assert sorted(refreshed(good)) == sorted(by_command.channels) == ["a", "b"]


def test_a_command_socket_that_goes_silent_is_an_error(by_command: Responder, settings: Any, either: Any) -> None:
    either(["a"])
    by_command.answer = silence
    settings.GRIP_PUBLISH_TIMEOUT = 0.1
    with pytest.raises(PublishError, match=r"tcp://127\.0\.0\.1:\d+: no reply within 0\.1 s"):
        either(["b"])
    by_command.answer = success
    either(["c"])
    assert by_command.channels == ["a", "b", "c"]


def test_a_refusing_command_socket_is_an_error(by_command: Responder, either: Any) -> None:
    either(["a"])
    by_command.answer = lambda request: tnetstring.dumps({b"success": False, b"condition": b"bad-request"})
    with pytest.raises(PublishError, match="refused: bad-request"):
        either(["b"])


def test_a_proxy_that_comes_back_is_refreshed_again(old: Proxy, settings: Any, either: Any) -> None:
    with responding() as first:
        settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "control_zmq_uri": first.uri}]
        either(["a"])
    with pytest.raises(PublishError, match="refused"):
        either(["b"])
    with responding(first.uri) as second:
        either(["c"])
    assert second.channels == ["c"]


def test_a_proxy_that_comes_back_as_a_newer_one_is_refreshed_in_another_way(
    by_command: Responder, old: Proxy, either: Any, settings: Any
) -> None:
    either(["a"])
    by_command.stop()
    old.answer = lambda handler: handler.reply(200)
    with pytest.raises(PublishError):
        either(["b"])
    either(["c"])
    assert refreshed(old) == ["c"]


def test_nothing_configured_is_an_error_in_production(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    either(["a"])
    monkeypatch.delattr("django.core.mail.outbox")
    with pytest.raises(ImproperlyConfigured, match="no GRIP proxy"):
        either(["a"])
    assert not is_late()


def test_an_empty_list_of_proxies_refreshes_nothing(settings: Any, either: Any) -> None:
    settings.GRIP_PROXIES = []
    either(["a"])
    assert (ways(), is_late(), asyncio.run(ais_late())) == ({}, False, False)


def test_no_channels_need_no_proxy(either: Any) -> None:
    either([])


# Many at once --------------------------------------------------------------------------------------------


class Slow:
    """Holds each refresh up until it is let go."""

    def __init__(self, responder: Responder) -> None:
        self.released = threading.Event()
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        responder.answer = self

    def __call__(self, request: dict[bytes, Any]) -> bytes:
        if request[b"method"] == b"refresh":
            channel = request[b"args"][b"channel"].decode()
            self.under_way[channel] += 1
            self.most[channel] = max(self.most[channel], self.under_way[channel])
            self.released.wait(PATIENCE)
            self.under_way[channel] -= 1
        return success(request)


@pytest.fixture
def slow(by_command: Responder) -> Slow:
    refresh(["before"])
    by_command.requests.clear()
    return Slow(by_command)


def waiting(channel: str) -> int:
    """How many share the refresh that waits."""
    (agent,) = refresher._process()._agents.values()
    found = agent._waiting.get(channel)
    return len(found._askers) if found else 0


def test_fifty_that_ask_while_one_is_under_way_share_the_next(slow: Slow, by_command: Responder) -> None:
    with ThreadPoolExecutor(51) as threads:
        first = threads.submit(refresh, ["room"])
        wait_until(lambda: by_command.channels == ["room"])
        rest = [threads.submit(refresh, ["room"]) for _ in range(50)]
        wait_until(lambda: waiting("room") == 50)
        assert not first.done()
        slow.released.set()
        for future in (first, *rest):
            future.result(PATIENCE)
    assert by_command.channels == ["room", "room"]
    assert slow.most == {"room": 1}


async def test_tasks_of_several_loops_and_threads_share_as_well(slow: Slow, by_command: Responder) -> None:
    first = asyncio.ensure_future(arefresh(["room"]))
    await asyncio.to_thread(wait_until, lambda: by_command.channels == ["room"])

    async def several() -> None:
        await asyncio.gather(*(arefresh(["room"]) for _ in range(10)))

    with ThreadPoolExecutor(4) as threads:
        others = [threads.submit(asyncio.run, several()) for _ in range(3)]
        others.append(threads.submit(refresh, ["room"]))
        await asyncio.to_thread(wait_until, lambda: waiting("room") == 31)
        slow.released.set()
        await asyncio.gather(first, *map(asyncio.wrap_future, others))
    assert by_command.channels == ["room", "room"]


def test_one_after_the_other_is_refreshed_each_time(by_command: Responder) -> None:
    for _ in range(5):
        refresh(["room"])
    assert by_command.channels == ["room"] * 5


def test_after_a_refresh_that_took_long_the_next_one_of_its_channel_lets_as_much_time_pass(
    by_command: Responder,
) -> None:
    refresh(["before"])
    times: list[float] = []

    def long(request: dict[bytes, Any]) -> bytes:
        times.append(time.monotonic())
        time.sleep(0.1)
        times.append(time.monotonic())
        return success(request)

    by_command.answer = long
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(refresh, ["room"])
        wait_until(lambda: times)
        second = threads.submit(refresh, ["room"])
        first.result(PATIENCE)
        assert len(times) == 2
        by_command.answer = success
        started = time.monotonic()
        refresh(["other"])
        assert time.monotonic() - started < 0.1
        by_command.answer = long
        second.result(PATIENCE)
    assert times[2] - times[1] >= 0.1


def test_channels_do_not_wait_for_each_other(slow: Slow, by_command: Responder) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(refresh, [name]) for name in ("one", "other")]
        wait_until(lambda: sorted(by_command.channels) == ["one", "other"])
        slow.released.set()
        for future in both:
            future.result(PATIENCE)


def test_those_who_share_a_refresh_share_its_failure(slow: Slow, by_command: Responder) -> None:
    with ThreadPoolExecutor(11) as threads:
        first = threads.submit(refresh, ["room"])
        wait_until(lambda: by_command.channels == ["room"])
        rest = [threads.submit(refresh, ["room"]) for _ in range(10)]
        wait_until(lambda: waiting("room") == 10)
        by_command.answer = lambda request: tnetstring.dumps({b"success": False, b"condition": b"no"})
        slow.released.set()
        first.result(PATIENCE)
        assert {str(future.exception(PATIENCE)) for future in rest} == {str(rest[0].exception())}
    assert "refused: no" in str(rest[0].exception())


async def test_one_who_gives_up_takes_nothing_from_the_others(slow: Slow, by_command: Responder) -> None:
    first = asyncio.ensure_future(arefresh(["room"]))
    await asyncio.to_thread(wait_until, lambda: by_command.channels == ["room"])
    rest = [asyncio.ensure_future(arefresh(["room"])) for _ in range(3)]
    await asyncio.to_thread(wait_until, lambda: waiting("room") == 3)
    first.cancel()
    rest[0].cancel()
    await asyncio.wait([first, rest[0]])
    slow.released.set()
    await asyncio.gather(*rest[1:])
    assert by_command.channels == ["room", "room"]


async def test_what_waits_is_bounded_and_the_rest_fails_at_once(
    slow: Slow, by_command: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent,) = refresher._process()._agents.values()
    monkeypatch.setattr(agent, "_lane", publisher.Lane(1, "refresh"))
    monkeypatch.setattr(agent._lane, "_places", threading.BoundedSemaphore(3))
    tasks = [asyncio.ensure_future(arefresh([str(number)])) for number in range(5)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    assert [task for task in tasks if task.done()] == tasks[3:]
    assert "refreshes are already waiting for it in this process" in str(tasks[3].exception())
    assert tasks[4].exception()
    slow.released.set()
    await asyncio.gather(*tasks[:3])
    await arefresh(["4"])
    assert by_command.channels == ["0", "1", "2", "4"]
    agent._lane._threads.shutdown()


async def test_arefresh_does_not_block_the_loop(slow: Slow) -> None:
    task = asyncio.ensure_future(arefresh(["room"]))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    slow.released.set()
    await task


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_asks_with_sockets_of_its_own(by_command: Responder) -> None:
    refresh(["parent"])
    child = os.fork()
    if child == 0:
        try:
            refresh(["child"])
            asyncio.run(arefresh(["child, async"]))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    refresh(["parent again"])
    assert by_command.channels == ["parent", "child", "child, async", "parent again"]
    assert by_command.probes == 2


# Known members -------------------------------------------------------------------------------------------


def private(number: int) -> str:
    return f"specific.grip!{number:04}"


def test_many_known_members_are_published_to_in_small_numbers_and_the_rest_together(
    by_publish: Proxy, either: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(refresher.time, "sleep", pauses.append)
    members = [private(number) for number in range(110)]
    either(["room"], {"room": members})
    assert pauses == [0.025] * 5
    posted = [json.loads(body)["items"] for _, _, body in by_publish.posts if PROBE.encode() not in body]
    assert [item["channel"] for items in posted for item in items] == [*members, "room"]
    assert max(map(len, posted)) == 25
    (rest,) = posted[-1]
    assert rest["meta"] == {"skip_users": ",".join(f"{number:04}" for number in range(110))}
    assert not any("meta" in item for items in posted[:-1] for item in items)


def test_a_few_known_members_are_refreshed_together(by_publish: Proxy, either: Any) -> None:
    either(["room"], {"room": [private(number) for number in range(25)]})
    assert refreshed(by_publish) == ["room"]
    assert "meta" not in by_publish.items[-1]


def test_the_command_socket_needs_no_members(by_command: Responder, either: Any) -> None:
    either(["room"], {"room": [private(number) for number in range(110)]})
    assert by_command.channels == ["room"]


def test_the_members_that_those_who_share_a_refresh_know_are_put_together(by_publish: Proxy) -> None:
    refresh(["before"])
    released = threading.Event()
    by_publish.answer = lambda handler: (released.wait(PATIENCE), handler.reply(200))[1]
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(refresh, ["room"])
        wait_until(lambda: refreshed(by_publish) == ["before", "room"])
        members = [private(number) for number in range(60)]
        rest = [threads.submit(refresh, ["room"], {"room": part}) for part in (members[:40], members[20:])]
        wait_until(lambda: waiting("room") == 2)
        released.set()
        for future in (first, *rest):
            future.result(PATIENCE)
    assert refreshed(by_publish)[2:] == [*members, "room"]


# Real proxies --------------------------------------------------------------------------------------------


class Site:
    """A backend that subscribes each connection to the channel that its query names; counts what comes later."""

    def __init__(self) -> None:
        self.callbacks: Counter[str] = Counter()
        self.application = Backend()
        self.application.script("/", self._answer)

    def _answer(self, seen: Seen) -> Reply:
        who = seen.query.decode()
        if seen.body == OPEN:
            channels = [
                control("subscribe", channel=name, filters=["skip-users"]) for name in ("room", private_of(who))
            ]
            user = control("set-meta", name="user", value=who)
            return Reply(OPEN + user + b"".join(channels) + text("ready"))
        if not seen.body:
            self.callbacks[who] += 1
        return Reply()


def private_of(who: str) -> str:
    return f"specific.grip!{who}"


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def pushpin(site: Site) -> Iterator[Pushpin]:
    with ExitStack() as stack:
        port = stack.enter_context(serve(site.application))
        try:
            yield stack.enter_context(Pushpin(port, sig_key=KEY.decode()))
        except PushpinMissingError as error:
            pytest.fail(str(error)) if os.environ.get("CI") == "true" else pytest.skip(str(error))


async def ramped(stack: AsyncExitStack, url: str, count: int) -> list[ClientConnection]:
    """Clients that have connected a few at a time, as the proxy's queue wants it, and are subscribed."""
    places = asyncio.Semaphore(20)

    async def one(number: int) -> ClientConnection:
        async with places:
            client = await connect(f"{url}/?{number:04}", proxy=None, ping_interval=None, compression=None)
            stack.push_async_callback(client.close)
            assert await client.recv() == "ready"
            return client

    return await asyncio.gather(*(one(number) for number in range(count)))


async def called_back(site: Site, count: int, *channels: str, members: Any = None) -> None:
    """Refresh until each of `count` connections has been called back: subscriptions become active a little late."""
    deadline = time.monotonic() + PATIENCE * 2
    await arefresh(channels, members)
    quiet_since, seen = time.monotonic(), 0
    while len(site.callbacks) < count:
        await asyncio.sleep(0.01)
        if site.callbacks.total() != seen:
            quiet_since, seen = time.monotonic(), site.callbacks.total()
        elif time.monotonic() - quiet_since > 0.5:
            await arefresh(channels, members)
            quiet_since = time.monotonic()
        assert time.monotonic() < deadline, f"{len(site.callbacks)} of {count} were called back"


async def test_pushpin_calls_back_for_whom_its_command_socket_is_asked(
    pushpin: Pushpin, site: Site, settings: Any
) -> None:
    settings.GRIP_PROXIES = [{"control_uri": pushpin.control_uri, "control_zmq_uri": pushpin.command_uri}]
    async with AsyncExitStack() as stack:
        await ramped(stack, pushpin.ws_url, 2)
        await called_back(site, 1, private_of("0001"))
        assert set(site.callbacks) == {"0001"}
        await called_back(site, 2, "room")
    assert ways() == {pushpin.control_uri: "command socket"}


def test_pushpins_command_socket_is_found_beside_its_control_port(pushpin: Pushpin, settings: Any) -> None:
    settings.GRIP_URL = pushpin.grip_url
    assert list(ways().values()) == ["command socket"]


def test_without_the_packages_it_depends_on_pushpins_version(
    pushpin: Pushpin, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GRIP_URL = pushpin.grip_url
    with without_packages(monkeypatch):
        assert list(ways().values()) == ["publish" if launcher.version() >= (1, 38) else "none"]


async def test_nobody_is_lost_when_all_of_a_pushpins_connections_are_refreshed(
    pushpin: Pushpin, site: Site, settings: Any
) -> None:
    settings.GRIP_URL = pushpin.grip_url
    assert pushpin.message_rate == 0
    async with AsyncExitStack() as stack:
        clients = await ramped(stack, pushpin.ws_url, 300)
        await called_back(site, 300, "room")
        assert [client.state.name for client in clients] == ["OPEN"] * 300


async def test_the_embedded_proxy_calls_back_for_all_subscribers_and_loses_none(site: Site, settings: Any) -> None:
    async with AsyncExitStack() as stack:
        port = stack.enter_context(serve(EmbeddedProxy(site.application, signing_key=KEY)))
        settings.GRIP_PROXIES = [
            {"control_uri": f"http://127.0.0.1:{port}/.grip", "control_iss": ISSUER, "key": KEY.decode()}
        ]
        clients = await ramped(stack, f"ws://127.0.0.1:{port}", 100)
        await called_back(site, 1, private_of("0001"))
        assert set(site.callbacks) == {"0001"}
        await called_back(site, 100, "room")
        site.callbacks.clear()
        members = [private_of(f"{number:04}") for number in range(60)]
        await called_back(site, 100, "room", members={"room": members})
        assert set(site.callbacks.values()) == {1}
        assert [client.state.name for client in clients] == ["OPEN"] * 100
