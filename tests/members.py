"""What a proxy does between the batches of several connections: it delivers, leaves out, and calls back.

`Crowd.work` goes on until there is nothing left to do, so what a member then has got is all that it will get.
"""

from __future__ import annotations

import functools
import time
import types
from typing import Any

import pytest

from grip_consumers import batch, groups, joining, mailbox
from grip_consumers.protocol import BinaryMessage, CloseAction, Event, Open, PingMessage, Pong, TextMessage

from .batches import OF_THE_PROXY, Answer, Site

#: Rounds after which connections that call each other back for ever are taken for a fault.
_PATIENCE = 200


class Member:
    """One connection: what its client got, and what it is subscribed to."""

    def __init__(self, site: Site, path: str, *, filters: bool = True, **options: Any) -> None:
        self.client = site.client(path, **options)
        if not filters:
            self.client.extra = [OF_THE_PROXY[0]]
        self.user = ""
        #: Each with the filters of the subscription.
        self.channels: dict[str, list[str]] = {}
        #: What it was pinged with and has not answered.
        self.pings: list[bytes] = []
        #: All that reached the client, in order: ("text", "a"), ("close", 1000, "") …
        self.got: list[tuple[Any, ...]] = []

    def post(self, *events: Event) -> Answer:
        answer = self.client.post(*events)
        if answer.status != 200:
            raise AssertionError(f"expected events, got {answer}")
        for frame in answer.frames:
            if frame[0] == "control":
                self._obey(frame[1])
            elif frame[0] == "ping":
                self.pings.append(frame[1])
            elif frame[0] != "open":
                self.got.append(frame)
        return answer

    def _obey(self, control: dict[str, Any]) -> None:
        if control["type"] == "subscribe":
            self.channels[control["channel"]] = control.get("filters", [])
        elif control["type"] == "unsubscribe":
            self.channels.pop(control["channel"], None)
        else:
            self.user = control["value"]

    @property
    def name(self) -> str:
        """Its channel name."""
        return next(channel for channel in self.channels if channel.endswith(f"!{self.user}"))

    @property
    def texts(self) -> list[str]:
        return [frame[1] for frame in self.got if frame[0] == "text"]

    @property
    def closed(self) -> bool:
        return any(frame[0] == "close" for frame in self.got)

    def take(self, item: Any) -> None:
        """What is published, unless a filter leaves this connection out."""
        skipped = item.meta.get("skip_users", "").split(",")
        if item.channel not in self.channels or ("skip-users" in self.channels[item.channel] and self.user in skipped):
            return
        message = item.message
        if isinstance(message, CloseAction):
            self.got.append(("close", message.code, message.reason))
        elif isinstance(message, PingMessage):
            self.pings.append(message.data)
        else:
            kind = {TextMessage: "text", BinaryMessage: "binary"}[type(message)]
            self.got.append((kind, message.content))


class Crowd:
    """Several connections to a site, and who is to be told what."""

    def __init__(self, site: Site, clock: Clock | None = None, *, answers_pings: bool = True) -> None:
        self.site = site
        #: Moved on between two looks at what is watched.
        self.clock = clock
        self.answers_pings = answers_pings
        self.members: list[Member] = []
        self._published = self._refreshed = self._watched = 0
        #: The ends from which on watched logs count as grown.
        self._watches: list[tuple[str, dict[str, int]]] = []

    def opened(self, path: str = "/ws/", **options: Any) -> Member:
        """A member whose connection is open."""
        member = Member(self.site, path, **options)
        member.post(Open())
        self.members.append(member)
        return member

    def work(self) -> None:
        """Deliver and call back until nothing is left."""
        for _ in range(_PATIENCE):
            if not (self._deliver() or self._answer_pings() or self._call_back() or self._look_after()):
                return
        raise AssertionError(f"still something to do after {_PATIENCE} rounds: {self.site.refreshed[-5:]}")

    def _deliver(self) -> bool:
        items = self.site.published[self._published :]
        self._published += len(items)
        for item in items:
            for member in self.members:
                member.take(item)
        return bool(items)

    def _answer_pings(self) -> bool:
        pinged = [member for member in self.members if member.pings and not member.closed]
        for member in pinged if self.answers_pings else ():
            data, member.pings = member.pings, []
            member.post(*map(Pong, data))
        return self.answers_pings and bool(pinged)

    def _call_back(self) -> bool:
        channels = dict.fromkeys(self.site.refreshed[self._refreshed :])
        self._refreshed = len(self.site.refreshed)
        for channel in channels:
            for member in self.members:
                if channel in member.channels and not member.closed:
                    member.post()
        return bool(channels)

    def _look_after(self) -> bool:
        """What `followup` does in a thread."""
        self._watches += self.site.watched[self._watched :]
        self._watched = len(self.site.watched)
        if self.clock and self._watches:
            self.clock.sleep(0.12)
        grown = []
        for channel, known in self._watches:
            ends, _ = mailbox.get().look(known)
            if any(ends[log] > known[log] for log in known):
                known.update(ends)
                grown.append(channel)
        self.site.refreshed.extend(grown)
        return bool(grown)

    def forget(self) -> None:
        """Let what was published, refreshed and watched so far go nowhere."""
        self._published, self._refreshed = len(self.site.published), len(self.site.refreshed)
        self._watches, self._watched = [], len(self.site.watched)


class Clock:
    """The time that the mailbox and its readers and writers go by. It stands still until a test moves it on.

    However slow the machine is, a test may so be a tenth of a second from a limit.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.time()
        own = types.SimpleNamespace(time=self.time, time_ns=lambda: int(self.time() * 1e9))
        for module in (batch, joining):
            monkeypatch.setattr(module, "time", own)
        monkeypatch.setattr(groups, "Listing", functools.partial(self._listing, groups.Listing))
        monkeypatch.setattr(mailbox.get(), "_clock", self.time)

    def time(self) -> float:
        return self._now

    def _listing(self, cls: Any, *args: Any, **keywords: Any) -> Any:
        return cls(*args, since=self.time(), **keywords)

    def sleep(self, seconds: float) -> None:
        self._now += seconds
