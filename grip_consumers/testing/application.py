"""Any ASGI application, driven message by message (`channels.testing.application`)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from asgiref.testing import ApplicationCommunicator as BaseApplicationCommunicator

from grip_consumers.types import Message

__all__ = ["ApplicationCommunicator", "no_op", "require"]

#: What the names in `grip_consumers.db` find, so that a test's own database connection is not closed under it.
_CLOSE = "grip_consumers.db.close_old_connections"


def no_op() -> None:
    """Do nothing."""


def require(condition: bool, text: str) -> None:
    """Raise AssertionError unless it holds: without a statement that Python leaves out, or pytest rewrites."""
    if not condition:
        raise AssertionError(text)


class ApplicationCommunicator(BaseApplicationCommunicator):
    """Runs an ASGI application in a task, sends it messages and receives what it sends.

    Args:
        application: the ASGI application.
        scope: what it is called with; may be changed until the first message is sent.

    What the application raises is raised by the next call of any method. All timeouts are in seconds.
    """

    #: Looked at when a communicator is collected that was never finished.
    _future: Any = None

    async def send_input(self, message: Message) -> None:
        """Send one message to the application."""
        with mock.patch(_CLOSE, no_op):
            return await super().send_input(message)  # type: ignore[no-any-return,no-untyped-call]

    async def receive_output(self, timeout: float = 1) -> Message:
        """Return the next message of the application. Raises asyncio.TimeoutError, and ends it, if there is none."""
        with mock.patch(_CLOSE, no_op):
            return await super().receive_output(timeout)  # type: ignore[no-any-return,no-untyped-call]
