"""Refreshes: every proxy is asked to call back once for each subscriber of a channel.

How a proxy can be asked is found out once in each process, on a channel that nobody subscribes to: over its
command socket, which refreshes one subscriber after the other, or else by publishing. A proxy that can be asked in
neither way is not an error: its connections have to ask for callbacks themselves, at an interval.

An ask for a channel that waits for its turn is shared by everybody who asks meanwhile: what made them ask was
written before, so one callback finds all of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from grip_consumers import command_socket, conf, discovery, publisher
from grip_consumers.command_socket import CommandError, CommandSocket
from grip_consumers.conf import Proxy
from grip_consumers.exceptions import PublishError
from grip_consumers.naming import user_of
from grip_consumers.protocol import Item, RefreshAction
from grip_consumers.publisher import Failure, Lane

__all__ = ["ais_late", "arefresh", "is_late", "refresh", "request", "ways"]

logger = logging.getLogger("grip_consumers.refresher")

COMMAND_SOCKET: Final = "command socket"
PUBLISH: Final = "publish"
NONE: Final = "none"

#: Refreshes under way at one proxy at one time in one process, each of another channel.
_CONCURRENCY = 8
#: Seconds after which a proxy that could be refreshed in no way is looked at again: it may have been upgraded.
_RECHECK = 60.0
#: Seconds for which a proxy that did not answer is not asked again only to find out how it is refreshed.
_UNREACHABLE = 5.0
#: Seconds that a command socket which accepts connections has for its first answer.
_PROBE_PATIENCE = 2.0
#: Nobody subscribes to it: no consumer's channel has two of these marks.
_PROBE_CHANNEL = "!grip-consumers!probe"
#: Published refreshes make all subscribers call back at once, and the proxy's queue holds about 100. Of those
#: whose own channels are known, so many are refreshed at a time, with so many seconds in between: measured with 600
#: subscribers; twice as many at a time lost some.
_CHUNK, _PAUSE = 25, 0.025
#: Seconds that a refresh takes when it has several dozen subscribers to go through. Rounds of that kind without a pause
#: can make a proxy that is short of processor time cut connections.
_NOTICEABLE = 0.02
#: What a proxy answers to an item whose action it does not know.
_BAD_REQUEST = 400

#: For a channel: private channels of subscribers that are known.
Members = Mapping[str, Sequence[str]]


def refresh(channels: Iterable[str], members: Members | None = None) -> None:
    """Have every proxy call back for each subscriber of each channel.

    Returns when the proxies have been told; the callbacks come then or a little later. With GRIP_PROXIES = [], and at
    a proxy that can be refreshed in no way (see `is_late`), nothing happens.

    Args:
        channels: GRIP channels.
        members: for some of them, private channels of subscribers, as far as they are known: proxies that call back
            for all subscribers at once, at the risk of losing some, are told of these in small numbers.

    Raises PublishError, naming each proxy that could not be told and why, and ImproperlyConfigured when no proxy is
    configured.
    """
    asked = _ask(channels, members or {})
    _raise_for((proxy, future.result()) for proxy, future in asked)


async def arefresh(channels: Iterable[str], members: Members | None = None) -> None:
    """As `refresh`, without blocking the event loop."""
    asked = _ask(channels, members or {})
    reasons = await asyncio.gather(*(asyncio.wrap_future(future) for _, future in asked))
    _raise_for((proxy, reason) for (proxy, _), reason in zip(asked, reasons, strict=True))


def request(channels: Iterable[str], done: Callable[[], None] | None = None) -> None:
    """As `refresh`, without waiting: what fails is logged. A process does not end before it is through.

    `done` is called, in whichever thread, when all proxies have been told. Raises ImproperlyConfigured as `refresh`.
    """
    asked = _ask(channels, {})
    # One after the other: only the last that is told leaves none.
    left = [proxy for proxy, _ in asked]

    def told(proxy: Proxy, future: Future[str | None]) -> None:
        if (reason := future.result()) is not None:
            logger.error("Connections of %s are called back late: %s", proxy.name, reason)
        left.remove(proxy)
        if not left and done is not None:
            done()

    for proxy, future in asked:
        future.add_done_callback(functools.partial(told, proxy))


def is_late() -> bool:
    """Whether some proxy can be refreshed in no way, so that its connections have to ask for callbacks themselves.

    Finds out, which takes a moment, if that is not known yet. A proxy that does not answer is not counted.
    """
    return any(agent.is_late() for agent in _agents_if_any())


async def ais_late() -> bool:
    """As `is_late`, without blocking the event loop."""
    agents = _agents_if_any()
    if all(agent.knows() for agent in agents):
        return any(agent.is_late() for agent in agents)
    return await asyncio.to_thread(is_late)


def ways() -> dict[str, str]:
    """How each proxy is refreshed, by its name: "command socket", "publish" or "none".

    Finds out where that is not known yet. Raises PublishError for proxies that do not answer, and as `refresh`.
    """
    found = [(agent.proxy, agent.way(conf.get().publish_timeout)) for agent in _agents()]
    _raise_for((proxy, outcome.reason) for proxy, outcome in found)
    return {proxy.name: outcome.way for proxy, outcome in found}


def _ask(channels: Iterable[str], members: Members) -> list[tuple[Proxy, Future[str | None]]]:
    wanted = list(dict.fromkeys(channels))
    if not wanted:
        return []
    timeout = conf.get().publish_timeout
    return [
        (agent.proxy, agent.ask(channel, members.get(channel, ()), timeout))
        for agent in _agents()
        for channel in wanted
    ]


def _raise_for(outcomes: Iterable[tuple[Proxy, str | None]]) -> None:
    failures = {proxy.name: reason for proxy, reason in outcomes if reason}
    if failures:
        raise PublishError(failures)


def _agents() -> list[_Agent]:
    process = _process()
    return [process.agent(proxy) for proxy in publisher.targets()]


def _agents_if_any() -> list[_Agent]:
    try:
        return _agents()
    except ImproperlyConfigured:
        # Whoever publishes is told; there is nobody whose connections could be late.
        return []


# One proxy -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Outcome:
    """What a look at a proxy has shown. With a `reason` the look failed, and `way` is what was known before."""

    way: str = ""
    reason: str | None = None
    at: float = dataclasses.field(default_factory=time.monotonic)
    #: A refresh has failed since.
    doubtful: bool = False

    def is_good(self) -> bool:
        """Whether nobody has to look again for a refresh."""
        return not self.reason and not self.doubtful and (self.way != NONE or time.monotonic() - self.at < _RECHECK)

    def is_recent(self) -> bool:
        """Whether nobody has to look again only to know."""
        return self.is_good() or bool(self.reason and time.monotonic() - self.at < _UNREACHABLE)


class _Round:
    """One refresh of one channel, for everybody who asked before it began."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.members: dict[str, None] = {}
        self.timeout = 0.0
        self._askers: list[Future[str | None]] = []

    def join(self, members: Iterable[str], timeout: float) -> Future[str | None]:
        self.members.update(dict.fromkeys(members))
        self.timeout = timeout
        # One for each, so that one who gives up takes nothing from the others.
        future: Future[str | None] = Future()
        self._askers.append(future)
        return future

    def finish(self, reason: str | None) -> None:
        for future in self._askers:
            if future.set_running_or_notify_cancel():
                future.set_result(reason)


class _Agent:
    """What this process knows of one proxy, and whom it has to ask there."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self._lane = Lane(_CONCURRENCY, "refresh")
        self._lock = threading.Lock()
        self._waiting: dict[str, _Round] = {}
        self._running: set[str] = set()
        #: When the next round of a channel may begin.
        self._rests: dict[str, float] = {}
        self._probing = threading.Lock()
        self._probes = 0
        self._outcome: _Outcome | None = None
        self._warned = False
        self._socket: CommandSocket | None = None
        self._paced = threading.Lock()

    # Rounds

    def ask(self, channel: str, members: Sequence[str], timeout: float) -> Future[str | None]:
        """The outcome of a refresh that has not begun yet: None, or the reason why it failed."""
        with self._lock:
            waiting = self._waiting.get(channel)
            if waiting is not None:
                return waiting.join(members, timeout)
            waiting = self._waiting[channel] = _Round(channel)
            future = waiting.join(members, timeout)
            if channel in self._running:
                return future
        self._submit(waiting)
        return future

    def _submit(self, waiting: _Round) -> None:
        try:
            self._lane.submit(self._run, waiting).add_done_callback(lambda done: self._refused(waiting, done.result()))
        except RuntimeError:
            # The process is ending, but not before those who wait have been served.
            self._run(waiting)

    def _refused(self, waiting: _Round, reason: str | None) -> None:
        """`reason` is None for a round that has run."""
        if reason is not None:
            with self._lock:
                del self._waiting[waiting.channel]
            waiting.finish(reason)

    def _run(self, begun: _Round) -> None:
        # After a round that took long, callbacks have had that time to themselves. Others may still join.
        if (rest := self._rests.get(begun.channel, 0.0) - time.monotonic()) > 0:
            time.sleep(rest)
        with self._lock:
            del self._waiting[begun.channel]
            self._running.add(begun.channel)
        started = time.monotonic()
        reason: str | None = "it failed in a way that is not foreseen (see the log)"
        try:
            reason = self._refresh(begun)
        except Exception:
            logger.exception("Refreshing %s failed", self.proxy.name)
        finally:
            self._end(begun.channel, 0.0 if reason else time.monotonic() - started)
            begun.finish(reason)

    def _end(self, channel: str, lasted: float) -> None:
        now = time.monotonic()
        with self._lock:
            self._running.discard(channel)
            self._rests = {name: until for name, until in self._rests.items() if until > now}
            if lasted >= _NOTICEABLE:
                self._rests[channel] = now + lasted
            following = self._waiting.get(channel)
        if following is not None:
            self._submit(following)

    def _refresh(self, begun: _Round) -> str | None:
        outcome = self.way(begun.timeout)
        if outcome.reason is not None or outcome.way == NONE:
            return outcome.reason
        try:
            reason = self._by_command(begun) if outcome.way == COMMAND_SOCKET else self._by_publish(begun)
        except PublishError as error:
            reason = str(error)
        if reason is not None:
            # It may have become another version, or have moved its command socket.
            self._outcome = dataclasses.replace(outcome, doubtful=True)
        return reason

    def _by_command(self, begun: _Round) -> str | None:
        assert self._socket is not None
        try:
            self._socket.refresh(begun.channel, begun.timeout)
        except CommandError as error:
            return f"{self.proxy.command_uri}: {error}"
        return None

    def _by_publish(self, begun: _Round) -> str | None:
        members = list(begun.members)
        if len(members) <= _CHUNK:
            return _reason(self._publish([Item(begun.channel, RefreshAction())], begun.timeout))
        with self._paced:
            for start in range(0, len(members), _CHUNK):
                chunk = [Item(channel, RefreshAction()) for channel in members[start : start + _CHUNK]]
                if (failure := self._publish(chunk, begun.timeout)) is not None:
                    return failure.reason
                time.sleep(_PAUSE)
            users = ",".join(map(user_of, members))
            rest = Item(begun.channel, RefreshAction(), meta={"skip_users": users})
            return _reason(self._publish([rest], begun.timeout))

    def _publish(self, items: list[Item], timeout: float) -> Failure | None:
        return publisher.deliver(self.proxy, items, timeout)

    # How it is refreshed

    def knows(self) -> bool:
        """Whether `is_late` answers at once."""
        return self._outcome is not None

    def is_late(self) -> bool:
        outcome = self._outcome
        if outcome is None:
            outcome = self.way(conf.get().publish_timeout)
        elif not outcome.is_recent() and not self._probing.locked():
            # Nobody has to wait for that: what was found before is still the best guess.
            self._lane.submit(lambda: self.way(conf.get().publish_timeout).reason)
        return outcome.way == NONE

    def way(self, timeout: float) -> _Outcome:
        """How this proxy is refreshed, found out if it is not known. May take `timeout` seconds and a little."""
        outcome = self._outcome
        if outcome is not None and outcome.is_good():
            return outcome
        before = self._probes
        with self._probing:
            outcome = self._outcome
            # Whoever waited here while another looked has the answer, also when it is that nobody answers.
            if outcome is None or self._probes == before:
                outcome = self._outcome = self._probe(timeout)
                self._probes += 1
            return outcome

    def _probe(self, timeout: float) -> _Outcome:
        if self.proxy.control_iss == discovery.ISSUER:
            return _Outcome(PUBLISH)
        obstacle = self._look_for_socket(timeout)
        if obstacle is None:
            return _Outcome(COMMAND_SOCKET)
        failure = self._publish([Item(conf.get().prefix + _PROBE_CHANNEL, RefreshAction())], timeout)
        if failure is None:
            return _Outcome(PUBLISH)
        if failure.status != _BAD_REQUEST:
            return _Outcome(self._outcome.way if self._outcome else "", reason=failure.reason)
        self._warn(obstacle)
        return _Outcome(NONE)

    def _look_for_socket(self, timeout: float) -> str | None:
        """None if the command socket answers, else what is in the way."""
        uri = self.proxy.command_uri
        if uri is None:
            return "name its command socket as 'control_zmq_uri' in its entry of GRIP_PROXIES"
        if not command_socket.is_installed():
            return "install the packages for its command socket: pip install 'grip-consumers[zmq]'"
        try:
            if self._socket is None:
                self._socket = CommandSocket(uri)
            self._socket.probe(min(timeout, _PROBE_PATIENCE))
        except CommandError as error:
            return (
                f"make its command socket reachable, which does not answer at {uri} ({error}), and name it as "
                "'control_zmq_uri' in its entry of GRIP_PROXIES"
            )
        return None

    def _warn(self, way_out: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "The GRIP proxy %s cannot be asked to call back for a connection, so what a handler has to do for each "
                "connection by itself is done late, at intervals. To have it done at once, %s; or use Pushpin 1.38 or "
                "newer, which can be asked by publishing.",
                self.proxy.name,
                way_out,
            )


def _reason(failure: Failure | None) -> str | None:
    return None if failure is None else failure.reason


# What a process holds ------------------------------------------------------------------------------------


class _Process:
    """What one process knows and has opened."""

    def __init__(self) -> None:
        self._agents: dict[Proxy, _Agent] = {}

    def agent(self, proxy: Proxy) -> _Agent:
        found = self._agents.get(proxy)
        # Two threads may make one at once; the one that is not kept has started nothing.
        return found if found is not None else self._agents.setdefault(proxy, _Agent(proxy))


_processes: dict[int, _Process] = {}


def _process() -> _Process:
    # By process id: neither threads nor ZeroMQ's sockets survive a fork. Without a lock, as in publisher.
    found = _processes.get(os.getpid())
    return found if found is not None else _processes.setdefault(os.getpid(), _Process())
