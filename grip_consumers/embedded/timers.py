"""Messages that the proxy sends by the clock: delayed ones, and keep-alives while nothing else is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .effects import Delay, KeepAliveMessage, PingClient, Send

__all__ = ["Timers"]


class Timers:
    """The timers of one connection.

    Args:
        send: takes a message that is due; must not block.
    """

    def __init__(self, send: Callable[[Send | PingClient], None]) -> None:
        self._send = send
        self._delayed: Send | PingClient | None = None
        self._delay: asyncio.TimerHandle | None = None
        self._keep_alive = KeepAliveMessage(None, 0)
        self._idle: asyncio.TimerHandle | None = None

    def delay(self, delay: Delay) -> None:
        """Send a message later; one that is still waiting is sent now, as Pushpin does."""
        self.flush()
        self._delayed = delay.message
        self._delay = asyncio.get_running_loop().call_later(delay.seconds, self.flush)

    def flush(self) -> None:
        """Send the delayed message now, if there is one."""
        message, self._delayed = self._delayed, None
        if self._delay is not None:
            self._delay.cancel()
        if message is not None:
            self._send(message)

    def keep_alive(self, setting: KeepAliveMessage) -> None:
        """Send this message from now on whenever its seconds passed, without another if it is to wait for that."""
        self._keep_alive = setting
        self._begin()

    def sent(self) -> None:
        """Something was sent to the client: the time without begins anew."""
        if not self._keep_alive.interval:
            self._begin()

    def _begin(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._keep_alive.message is not None:
            self._idle = asyncio.get_running_loop().call_later(self._keep_alive.seconds, self._idled)

    def cancel(self) -> None:
        """Send nothing more."""
        self._delayed = None
        self._keep_alive = KeepAliveMessage(None, 0)
        for timer in (self._delay, self._idle):
            if timer is not None:
                timer.cancel()

    def _idled(self) -> None:
        if self._keep_alive.message is not None:
            self._send(self._keep_alive.message)
            self._begin()
