"""One run of a view for one batch of messages: what it takes from the batch, and how its end becomes an answer.

A view that waits for messages lives as long as its socket on a server that has one. Here it is left when the batch
has no more of them, by an exception that passes `except Exception`, and runs anew for the next batch. So its
beginning, up to the first message, is repeated each time; what that sends has been sent, and is not sent again.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from django.core.signals import got_request_exception
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from grip_consumers.protocol import Binary, Event, LocalProtocolError, State, Text
from grip_consumers.protocol.headers import check_token

from .connection import ViewConnection

__all__ = ["Suspended", "Turn"]

logger = logging.getLogger("grip_consumers.views")

#: RFC 6455 §7.4.1: the server met something unexpected.
_INTERNAL_ERROR = 1011

#: Answers with these statuses and above refuse a handshake; below them a view says that it is done.
_REFUSALS = 300

#: Bytes and messages of an answer that every proxy passes on: Pushpin holds back, for ever, what is much larger than
#: four times its client_buffer_size (8,192 by default).
_ANSWER_SIZE, _ANSWER_COUNT = 28_000, 400

#: How long a view may ask in vain without waiting: nothing can come before it is left. Asking for messages costs
#: more than asking whether the client is there, as views do between the steps of long work.
_PATIENCE, _ASKED_FOR_MESSAGES, _ASKED_FOR_END = 10_000, 100, 1

#: How often a view may be told to leave. Several tasks may each wait; more often, something catches all exceptions.
_ATTEMPTS = 10

_MESSAGES = (Text, Binary)


class Suspended(BaseException):
    """There are no more messages in this batch, and the view waits for one."""


class Turn:
    """What a view does with one batch. Used as a context around it, which takes in how it ends."""

    def __init__(self, request: HttpRequest, connection: ViewConnection) -> None:
        self.connection = connection
        #: Whether it has been answered for.
        self.answered = False
        self._request = request
        self._exchange = connection.exchange
        self._left = sum(isinstance(event, _MESSAGES) for event in connection.events)
        #: The view is in its beginning, which it has run before.
        self._repeats = not self._exchange.opening
        self._suspended = self._returned = self._ignored = False
        #: What has been asked in vain since the last message, and what was sent since then.
        self._weariness = self._sends = 0
        self._attempts = 0
        #: The tasks and threads that have been told to leave the view.
        self._leaving: set[object] = set()
        self._depths: dict[str, int] = {}

    @property
    def has_occasion(self) -> bool:
        """Whether the batch brings what a view waits for; one in which the proxy asks by itself does not."""
        return not self._exchange.empty

    # What the view does -------------------------------------------------------------------------------------

    def left(self, asked: str) -> int:
        """How many messages of the batch the view has not taken yet. Raises Suspended for one that polls."""
        if not self._left:
            self._tire(asked, _ASKED_FOR_MESSAGES)
        return self._left

    def closed(self) -> bool:
        """Whether either side has closed, as far as the view has read. Raises Suspended for one that polls."""
        if not self._ended:
            self._tire("closed", _ASKED_FOR_END)
        return self._ended

    @property
    def _ended(self) -> bool:
        return self._exchange.state not in {State.CONNECTING, State.OPEN}

    def accept(self, subprotocol: str | None = None) -> None:
        """Accept the handshake, unless that is done: with the subprotocol, or the first that the client offers."""
        if self._exchange.state is State.CONNECTING:
            self.connection.accept(subprotocol or self._offered())

    def _offered(self) -> str | None:
        # Browsers give up a connection for which they have offered some and got none.
        first = self._request.META.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").partition(",")[0].strip()
        try:
            return check_token(first, "a subprotocol")
        except LocalProtocolError:
            return None

    def take(self) -> str | bytes | None:
        """The next message of the batch; None if there is none."""
        self._check_running()
        self.accept()
        self._repeats = False
        while (event := self._exchange.next_event()) is not None:
            if isinstance(event, _MESSAGES):
                self._left -= 1
                self._weariness = self._sends = 0
                return _content(event)
        return None

    def wait(self) -> str | bytes | None:
        """The next message; None when the connection has ended. Raises Suspended."""
        message = self.take()
        if message is None:
            if self._ended:
                self._tire("wait()", _ASKED_FOR_MESSAGES)
            else:
                self._suspend()
        return message

    def read(self, fallback: Any) -> Any:
        """The next message, or `fallback`. Raises Suspended for a view that asks again and again."""
        message = self.take()
        if message is not None:
            return message
        self._tire("read()", _ASKED_FOR_MESSAGES)
        return fallback

    def _tire(self, asked: str, cost: int) -> None:
        if self.answered:
            return
        self._weariness += cost
        if self._weariness < _PATIENCE:
            return
        if not self._ended and not self._left and self._reads_the_end():
            # That is what it has polled for.
            self._weariness = 0
            return
        if not self._suspended:
            logger.warning(
                "The view for %s has used request.websocket.%s %d times in a row without a message. None can come "
                "before the view is left, so that counts as wait().",
                self._request.path,
                asked,
                _PATIENCE // cost,
            )
        self._suspend()

    def _reads_the_end(self) -> bool:
        self.take()
        return self._ended

    def _suspend(self) -> None:
        self._attempts += 1
        if self._attempts > _ATTEMPTS:
            self._give_up()
            return
        if self._is_in_transaction() and not self._ended:
            # Not raised: what has been swallowed once would be again, in a loop.
            error = RuntimeError(
                "The view waits for a message inside `with transaction.atomic()`: leaving it there until the next "
                "batch rolls back what has been answered already. Move atomic() into the loop."
            )
            self._fail(error)
        self._suspended = True
        self._leaving.add(_strand())
        raise Suspended

    def _give_up(self) -> None:
        error = RuntimeError(
            f"The view was told {_ATTEMPTS} times to leave until the next batch, and went on: a bare `except:` or "
            "`except BaseException:` around request.websocket catches that. Use `except Exception:`."
        )
        if self._attempts > _ATTEMPTS + 1:
            raise error
        self._fail(error)

    def _is_in_transaction(self) -> bool:
        """Whether the view has begun a transaction, or a savepoint, that would be rolled back."""
        return any(depth > self._depths.get(alias, 0) for alias, depth in _transaction_depths().items())

    def send(self, message: Any) -> None:
        """Send text, or bytes as a binary message, or what `str()` makes of anything else."""
        if self._is_pointless("send()"):
            return
        self._sends += 1
        if self._sends <= _ANSWER_COUNT:
            # Who sends as much as arrives is at work.
            self._weariness = 0
        if self._repeats:
            return
        if isinstance(message, (bytes, bytearray, memoryview)):
            self._exchange.send_binary(bytes(message))
        else:
            self._exchange.send_text(str(message))

    def subscribe(self, channel: str) -> None:
        """Add the connection to a channel; in a beginning that is repeated it is there already."""
        if not self._is_pointless("subscribe()") and not self._repeats:
            self.connection.subscribe(channel)

    def unsubscribe(self, channel: str) -> None:
        """Take the connection out of a channel."""
        if not self._is_pointless("unsubscribe()") and not self._repeats:
            self.connection.unsubscribe(channel)

    def close(self, code: int, reason: str) -> None:
        """Close the connection; what was closed stays so."""
        if not self._is_pointless("close()"):
            self._exchange.close(code, reason)

    def _is_pointless(self, what: str) -> bool:
        """Whether it is done while the view is left, as in `finally`: not at the end of the connection, that is."""
        self._check_running()
        self.accept()
        if not (_strand() in self._leaving or _suspends(sys.exc_info()[1])):
            return False
        if not self._ignored:
            self._ignored = True
            logger.warning(
                "The view for %s calls request.websocket.%s as it is left until the next batch, in `finally`, a bare "
                "`except:` or closing(): ignored. Do it behind the loop, which ends with the connection.",
                self._request.path,
                what,
            )
        return True

    def _check_running(self) -> None:
        if self.answered:
            raise RuntimeError(
                "request.websocket was used after its batch was answered, from a task or thread that the view has left "
                "running: await it in the view, or publish to the connection's channel."
            )

    # How it ends --------------------------------------------------------------------------------------------

    def __enter__(self) -> Turn:
        self._depths = _transaction_depths()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Take in how the view has ended. What it raises before it uses the socket refuses the handshake: passed on."""
        if error is None:
            self._returned = True
            return True
        rest = _without_suspensions(error)
        if rest is None:
            return True
        if not isinstance(rest, Exception):
            # What ends a process or cancels a task, without what nobody else knows.
            raise rest
        if self._exchange.state is State.CONNECTING:
            return False
        self._fail(rest)
        return True

    def _fail(self, error: Exception) -> None:
        logger.error("Exception in the WebSocket view for %s", self._request.path, exc_info=error)
        # Whoever counts errors listens to this; Django itself sees none, so it would commit.
        got_request_exception.send(sender=None, request=self._request)
        for connection in connections.all(initialized_only=True):
            if connection.settings_dict["ATOMIC_REQUESTS"] and connection.in_atomic_block:
                connection.set_rollback(True)
        self._exchange.fail(_INTERNAL_ERROR)

    def checked(self, view: Callable[..., Any], result: Any) -> HttpResponseBase | None:
        """What the view has returned. Raises TypeError, as Django's handler would, if that is no response."""
        if result is None or isinstance(result, HttpResponseBase):
            return result
        if hasattr(result, "close"):
            result.close()
        hint = " It may lack an `await`, or an `async` in front of its `def`." if inspect.iscoroutine(result) else ""
        raise TypeError(
            f"The view {_name(view)} returned a {type(result).__name__}, expected an HttpResponse or None.{hint}"
        )

    def conclude(self, result: HttpResponseBase | None) -> HttpResponseBase:
        """Carry out what the view's end means. What to finish the connection's batch with."""
        self.answered = True
        status = getattr(result, "status_code", 200)
        if result is not None and self._exchange.state is State.CONNECTING and status >= _REFUSALS:
            return result
        self.accept()
        if result is not None:
            # Nobody will read it.
            result.close()
        if self._exchange.exceeds(_ANSWER_SIZE, _ANSWER_COUNT):
            logger.warning(
                "The WebSocket view for %s answers one batch with %d bytes in %d messages: more than %d bytes or %d "
                "messages may never arrive, unless Pushpin's client_buffer_size is raised. Send less at once, or "
                "publish it.",
                self._request.path,
                self._exchange.body_size,
                self._exchange.message_count,
                _ANSWER_SIZE,
                _ANSWER_COUNT,
            )
        # It may have returned after `Suspended`, where something has swallowed that.
        if self._returned and not self._suspended:
            self._close(status)
        return HttpResponse()

    def _close(self, status: int) -> None:
        if status >= _REFUSALS and not self._ended:
            logger.error("The WebSocket view for %s answered a message with status %d", self._request.path, status)
            self._exchange.fail(_INTERNAL_ERROR)
        else:
            self._exchange.close()


def _content(event: Event) -> str | bytes:
    if isinstance(event, Text):
        return event.text
    assert isinstance(event, Binary)
    return event.data


def _without_suspensions(error: BaseException | None) -> BaseException | None:
    """What is left of an error, or of several at once as a task group raises them; None if nothing is."""
    if error is None or isinstance(error, Suspended):
        return None
    # Groups of exceptions came with Python 3.11; before it there is a package for them.
    split = getattr(error, "split", None)
    if split is None or not hasattr(error, "exceptions"):
        return error
    rest: BaseException | None = split(Suspended)[1]
    return rest


def _suspends(error: BaseException | None) -> bool:
    return error is not None and _without_suspensions(error) is not error


def _strand() -> object:
    """The task, or the thread without one, that this is called from."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.get_ident()


def _transaction_depths() -> dict[str, int]:
    """How many blocks of atomic() are open, by the alias of the database."""
    return {
        connection.alias: connection.in_atomic_block + len(connection.savepoint_ids)
        for connection in connections.all(initialized_only=True)
    }


def _name(view: Callable[..., Any]) -> str:
    view = getattr(view, "func", view)
    return f"{view.__module__}.{getattr(view, '__qualname__', type(view).__qualname__)}"
