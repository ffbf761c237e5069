"""Everything that goes out by publish: to all proxies at once, each failure by name.

A publish waits until every proxy has taken it, so one sender's messages stay in order and a failure reaches
the sender. What is under way or waits at one time is bounded, for each proxy by itself: one that hangs does
not hold up the others. A forked process makes its own connections.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import json
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import urllib3
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import conf, discovery, in_process
from grip_consumers.conf import Proxy, Settings
from grip_consumers.exceptions import PublishError
from grip_consumers.protocol import PUBLISH_MAX, Item, encode_publish

__all__ = ["Failure", "Lane", "apublish", "deliver", "publish", "submit", "targets", "wait"]

logger = logging.getLogger("grip_consumers.publisher")

#: Publishes under way to one proxy at one time in one process; further ones wait their turn.
_CONCURRENCY = 32
#: Publishes to one proxy that may wait; what comes beyond them fails at once.
_WAITING_MAX = 1_000
#: Bytes of what nobody waits for that may be under way to one proxy.
_QUEUE_MAX = 50_000_000
#: Statuses of a post that say that something is wrong with what it holds.
_ITS_OWN_FAULT = frozenset({400, 413, 422})
#: Seconds for which a publish's JSON Web Token is good: enough for clocks that differ.
_TOKEN_LIFETIME = 3_600


def publish(items: Iterable[Item]) -> None:
    """Deliver `items`, in order, to every proxy.

    Raises PublishError, naming each proxy that did not take them and why (the others did take them), and
    ImproperlyConfigured when no proxy is configured.
    """
    deliveries = _deliveries(items)
    if len(deliveries) == 1:
        # In this thread: nothing would be gained by another.
        _raise_for({deliveries[0][0].name: _attempt(*deliveries[0])})
        return
    _raise_for({proxy.name: future.result() for proxy, future in _submit(deliveries)})


async def apublish(items: Iterable[Item]) -> None:
    """As `publish`, without blocking the event loop."""
    submitted = _submit(_deliveries(items))
    reasons = await asyncio.gather(*(asyncio.wrap_future(future) for _, future in submitted))
    _raise_for({proxy.name: reason for (proxy, _), reason in zip(submitted, reasons, strict=True)})


def submit(items: Iterable[Item], done: Callable[[dict[str, str]], None] | None = None) -> None:
    """As `publish`, without waiting: one after the other for each proxy, in the order of the calls.

    What fails is logged. `done`, if given, is called in another thread when all proxies have answered, with the
    reasons of those that failed by their names. Raises as `publish` does for what is known at once.
    """
    identified = [_identified(item) for item in items]
    size = sum(map(len, _bodies(identified)))
    settings = conf.get()
    proxies = _targets(settings) if identified else []
    outcome = _Outcome(len(proxies), done)
    for proxy in proxies:
        told = partial(outcome.take, proxy.name)
        _process().queue(proxy).put(_Waiting(proxy, identified, size, settings.publish_timeout, told))


class _Outcome:
    """Collects what became of one call's items at all proxies."""

    def __init__(self, expected: int, done: Callable[[dict[str, str]], None] | None) -> None:
        self._missing, self._done = expected, done
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()
        if not expected and done is not None:
            done({})

    def take(self, name: str, reason: str | None) -> None:
        with self._lock:
            if reason is not None:
                self._failures[name] = reason
            self._missing -= 1
            complete = not self._missing
        if complete and self._done is not None:
            try:
                self._done(self._failures)
            except Exception:
                logger.exception("What was to be told of a publish has failed")


def wait() -> None:
    """Return when everything that this process has given to `submit` before is delivered or has failed."""
    _process().wait()


Delivery = tuple[Proxy, Sequence[bytes], float]


def _deliveries(items: Iterable[Item]) -> list[Delivery]:
    bodies = _bodies([_identified(item) for item in items])
    settings = conf.get()
    return [(proxy, bodies, settings.publish_timeout) for proxy in _targets(settings)] if bodies else []


def targets() -> list[Proxy]:
    """Every proxy that a publish goes to. Raises as `publish` does for a lack of them."""
    return _targets(conf.get())


def _targets(settings: Settings) -> list[Proxy]:
    """The configured proxies, and in development the project's embedded ones; none for GRIP_PROXIES = [].

    Nor are there any in a test run that has configured none: as for mail, nobody need be told.
    """
    targets = list(settings.proxies or ())
    if settings.proxies is None or (targets and settings.debug):
        key = discovery.signing_key()
        targets += [Proxy(uri, control_iss=discovery.ISSUER, key=key) for uri in discovery.announced()]
    if not targets and settings.proxies is None and not settings.debug and not in_process.is_test_run():
        raise ImproperlyConfigured(
            "There is no GRIP proxy to publish to. Set GRIP_URL (or GRIP_PROXIES) to your proxy's control "
            "address, e.g. 'http://127.0.0.1:5561' for a Pushpin on this machine; an explicit "
            "GRIP_PROXIES = [] publishes nowhere, for tests."
        )
    return targets


# Bodies --------------------------------------------------------------------------------------------------


def _identified(item: Item) -> Item:
    # Proxies remember ids for a while, so that a second try cannot deliver twice.
    return item if item.id is not None else dataclasses.replace(item, id=uuid.uuid4().hex)


def _bodies(items: list[Item]) -> list[bytes]:
    """As few request bodies as halving gives under the proxy's limit on their size. Raises PublishError."""
    if not items:
        return []
    body = encode_publish(items)
    if len(body) <= PUBLISH_MAX:
        return [body]
    if len(items) == 1:
        raise PublishError(
            {"every proxy": f"one message makes {len(body):,} bytes; a proxy takes {PUBLISH_MAX:,} at a time"}
        )
    middle = len(items) // 2
    return _bodies(items[:middle]) + _bodies(items[middle:])


# Deliveries ----------------------------------------------------------------------------------------------


def _raise_for(reasons: dict[str, str | None]) -> None:
    failures = {name: reason for name, reason in reasons.items() if reason}
    if failures:
        raise PublishError(failures)


def _submit(deliveries: list[Delivery]) -> list[tuple[Proxy, Future[str | None]]]:
    process = _process()
    return [(delivery[0], process.lane(delivery[0]).submit(_attempt, *delivery)) for delivery in deliveries]


@dataclass(frozen=True)
class Failure:
    """Why one proxy did not take a publish; `status` is what it answered with, None if it did not answer."""

    reason: str
    status: int | None = None


def deliver(proxy: Proxy, items: Iterable[Item], timeout: float) -> Failure | None:
    """Deliver `items`, in order, to one proxy, in this thread. Raises PublishError for one that is too large."""
    return _deliver(proxy, _bodies([_identified(item) for item in items]), timeout)


def _attempt(proxy: Proxy, bodies: Sequence[bytes], timeout: float) -> str | None:
    """Post all bodies to one proxy. The reason if that failed."""
    failure = _deliver(proxy, bodies, timeout)
    return None if failure is None else failure.reason


def _deliver(proxy: Proxy, bodies: Sequence[bytes], timeout: float) -> Failure | None:
    if proxy.control_uri == in_process.CONTROL_URI:
        in_process.take(bodies)
        return None
    try:
        headers = {"Content-Type": "application/json", **_authorization(proxy)}
        for body in bodies:
            if (failure := _refusal(proxy, _post(proxy.publish_url, body, headers, timeout))) is not None:
                return failure
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return Failure(_without_secrets(proxy, f"{type(error).__name__}: {error}"))
    return None


def _post(url: str, body: bytes, headers: dict[str, str], timeout: float) -> urllib3.BaseHTTPResponse:
    pool = _process().pool
    again = False
    while True:
        try:
            return pool.request(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=timeout),
                # Neither retried nor redirected by urllib3, which would repeat a publish that has timed out.
                retries=False,
                pool_timeout=timeout,
            )
        except urllib3.exceptions.ProtocolError:
            # A kept-alive connection that the proxy has closed meanwhile fails only when it is used.
            if again:
                raise
            again = True


def _refusal(proxy: Proxy, response: urllib3.BaseHTTPResponse) -> Failure | None:
    if 200 <= response.status < 300:
        return None
    text = response.data[:200].decode("utf-8", "replace").strip()
    return Failure(_without_secrets(proxy, f"expected status 200, got {response.status}: {text}"), response.status)


def _without_secrets(proxy: Proxy, text: str) -> str:
    """`text` without what may have found its way into it: a proxy may repeat in its answer what it was sent."""
    secrets = [proxy.control_uri, proxy.publish_url]
    if proxy.key and not proxy.control_iss:
        secrets.append(_key_bytes(proxy.key).decode("latin-1"))
    for secret in secrets:
        text = text.replace(secret, proxy.name if "://" in secret else "…")
    return text


def _authorization(proxy: Proxy) -> dict[str, str]:
    if not proxy.key:
        return {}
    key = _key_bytes(proxy.key)
    token = _signed(proxy.control_iss, key) if proxy.control_iss else key.decode("latin-1")
    return {"Authorization": f"Bearer {token}"}


def _signed(issuer: str, key: bytes) -> str:
    """A JSON Web Token, HS256 (RFC 7519). A library would refuse or warn of keys that a proxy accepts."""
    claims = {"iss": issuer, "exp": int(time.time()) + _TOKEN_LIFETIME}
    parts = b".".join(_base64url(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, claims))
    return b".".join((parts, _base64url(hmac.digest(key, parts, "sha256")))).decode("ascii")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _key_bytes(key: str | bytes) -> bytes:
    return key if isinstance(key, bytes) else key.encode("utf-8")


# What a process holds ------------------------------------------------------------------------------------


class _Process:
    """The connections and threads of one process; nothing is opened or started before it is needed."""

    def __init__(self) -> None:
        self.pool = urllib3.PoolManager(num_pools=16, maxsize=_CONCURRENCY, block=True)
        self._lanes: dict[str, Lane] = {}
        self._queues: dict[str, _Queue] = {}

    def lane(self, proxy: Proxy) -> Lane:
        found = self._lanes.get(proxy.control_uri)
        # Two threads may make one at once; the one that is not kept has started nothing.
        return found if found is not None else self._lanes.setdefault(proxy.control_uri, Lane(_CONCURRENCY, "publish"))

    def queue(self, proxy: Proxy) -> _Queue:
        found = self._queues.get(proxy.control_uri)
        return found if found is not None else self._queues.setdefault(proxy.control_uri, _Queue())

    def wait(self) -> None:
        for queue in list(self._queues.values()):
            queue.wait()


class Lane:
    """The threads for one proxy. Refuses what would wait behind too many others rather than queue without end.

    Args:
        concurrency: how much is under way at one time.
        what: what it does, `"publish"`, for the threads' names and the text of a refusal.
    """

    def __init__(self, concurrency: int, what: str) -> None:
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix=f"grip-{what}")
        self._places = threading.BoundedSemaphore(concurrency + _WAITING_MAX)
        self._what = what

    def submit(self, function: Callable[..., str | None], *args: Any) -> Future[str | None]:
        """Run `function` in one of the threads; the text that it returns, or None. A refusal is such a text."""
        if not self._places.acquire(blocking=False):
            refused: Future[str | None] = Future()
            refused.set_result(f"{_WAITING_MAX:,} {self._what}es are already waiting for it in this process")
            return refused
        future = self._threads.submit(function, *args)
        future.add_done_callback(lambda _: self._places.release())
        return future


@dataclass(frozen=True, eq=False)
class _Waiting:
    """What one call of `submit` gave one proxy's queue: the items, the bytes that they make, and whom to tell.

    Without a proxy it is a mark, told when all before it is done.
    """

    proxy: Proxy | None
    items: Sequence[Item]
    size: int
    timeout: float
    done: Callable[[str | None], None]


class _Queue:
    """What goes to one proxy in order, by a thread of its own: as much of what waits in one post as fits into one."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="grip-publish")
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._running = False
        #: That it is full has been logged.
        self._told = False

    def put(self, waiting: _Waiting) -> None:
        """Have it delivered, or told at once that too much waits already; that is logged once until it was empty."""
        with self._lock:
            full = self._size + waiting.size > _QUEUE_MAX
            tell, self._told = full and not self._told, full or self._told
            if not full:
                self._append(waiting)
        if full:
            reason = f"{_QUEUE_MAX:,} bytes are already waiting for it in this process"
            if tell:
                logger.error("Publishes to %s fail: %s", waiting.proxy and waiting.proxy.name, reason)
            waiting.done(reason)

    def wait(self) -> None:
        """Return when what was put before is delivered or has failed, and those concerned have been told."""
        passed = threading.Event()
        with self._lock:
            if not self._running:
                return
            self._append(_Waiting(None, (), 0, 0.0, lambda _: passed.set()))
        passed.wait()

    def _append(self, waiting: _Waiting) -> None:
        if not self._running:
            self._threads.submit(self._run)
            self._running = True
        self._waiting.append(waiting)
        self._size += waiting.size

    def _run(self) -> None:
        while joined := self._next():
            _deliver_joined(joined)

    def _next(self) -> list[_Waiting]:
        """The first that wait and can go in one post; those of a call that takes several stay among themselves."""
        with self._lock:
            joined: list[_Waiting] = []
            size = 0
            while self._waiting:
                waiting = self._waiting[0]
                if joined and (size + waiting.size > PUBLISH_MAX or waiting.proxy != joined[0].proxy):
                    break
                size += waiting.size
                joined.append(self._waiting.popleft())
            self._size -= size
            if not joined:
                self._running = self._told = False
            return joined


def _deliver_joined(joined: Sequence[_Waiting]) -> None:
    proxy = joined[0].proxy
    items = [item for waiting in joined for item in waiting.items]
    failure = _delivered(proxy, items, joined[0].timeout) if proxy is not None else None
    if failure is not None and failure.status in _ITS_OWN_FAULT and len(joined) > 1:
        # Which of them it is, the proxy does not say; it knows the ids of those that it took.
        for waiting in joined:
            _deliver_joined([waiting])
        return
    if failure is not None and proxy is not None:
        what = "A publish" if len(joined) == 1 else f"{len(joined)} publishes"
        logger.error("%s to %s failed: %s", what, proxy.name, failure.reason)
    for waiting in joined:
        waiting.done(None if failure is None else failure.reason)


def _delivered(proxy: Proxy, items: Sequence[Item], timeout: float) -> Failure | None:
    try:
        return deliver(proxy, items, timeout)
    except Exception as error:
        return Failure(f"{type(error).__name__}: {error}")


_processes: dict[int, _Process] = {}


def _process() -> _Process:
    # By process id: threads do not survive a fork, and two processes must not share a connection. Without a
    # lock, which another thread might hold at the moment of the fork.
    found = _processes.get(os.getpid())
    return found if found is not None else _processes.setdefault(os.getpid(), _Process())
