"""One POST with a batch of WebSocket events: to the right consumer, and back.

Start reading here. A batch is verified and decoded into an exchange (`protocol`). If it opens a connection, the
project's whole ASGI application runs on it, down to the consumer's `connect`. In later batches the sealed state
names the consumer and what it held; it is revived and handles the messages. Afterwards what it holds is captured,
and sealed into the response if it has changed.

There is a synchronous and an asynchronous way through; the steps that could differ are one line each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context

from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import conf, genuine, identity, mailbox, registry, ticking
from grip_consumers.batch import Batch, EndOfBatch
from grip_consumers.db import database_sync_to_async
from grip_consumers.exceptions import StateError
from grip_consumers.handshake import ENDED, STATE_META, BatchRequest
from grip_consumers.inbox import collect, follow_up, may_have_mail, send_off
from grip_consumers.protocol import (
    Exchange,
    LocalProtocolError,
    RemoteProtocolError,
    Response,
    State,
    decode,
)
from grip_consumers.running import PlainDispatch, capture, revive, run_async, run_plain, scope_of
from grip_consumers.state import ConnectionState, Reference, delete, load, open_token, save, seal_state
from grip_consumers.types import ASGIApplication
from grip_consumers.verification import grace_for, verify

__all__ = ["ENDED", "Dispatcher", "NoRoute"]

logger = logging.getLogger("grip_consumers.dispatcher")

#: RFC 6455 §7.4.1 and its registry: the server cannot go on with this connection, but a new one will do.
_SERVICE_RESTART = 1012

#: When there is something to keep. A connection that the backend has closed lives until its client has answered.
_KEPT = frozenset({State.OPEN, State.CLOSING})


class NoRoute(ValueError):  # noqa: N818 - the outcome of a search, not a failure
    """No websocket route matches the path (channels.routing raises a ValueError of this text)."""


class Dispatcher:
    """Answers batches for one application.

    `application` gives the ASGI application that websocket scopes are handed to; it is called once for each
    connection. `handle` and `handle_sync` return the response, or None if no websocket route matches the path, so
    that somebody else may answer the request.
    """

    def __init__(self, application: Callable[[], ASGIApplication]) -> None:
        self._application = application

    def handle_sync(self, request: BatchRequest) -> Response | None:
        """Answer a batch in this thread; an event loop is made only for what is asynchronous.

        It runs in a context of its own: what one connection's handlers set (a language, a tenant) must not be found by
        the next request in this thread.
        """
        _make_caches()
        return copy_context().run(self._handle_sync, request)

    def _handle_sync(self, request: BatchRequest) -> Response | None:
        job = _begin(request)
        if job is None or isinstance(job, Response):
            return job
        try:
            job.load()
            if job.needs_stack:
                async_to_sync(self._run_stack)(job)
            elif (plain := job.revive()) is not None:
                run_plain(job.batch, plain)
            else:
                async_to_sync(run_async)(job.batch, job.batch.receive)
        except Exception as error:
            self._failed(job, error)
        try:
            if (send := send_off(job.batch)) is not None:
                send()
            if (store := job.conclude()) is not None:
                store()
        except Exception as error:
            self._failed(job, error)
        return job.response()

    async def handle(self, request: BatchRequest) -> Response | None:
        """Answer a batch on this event loop; what is synchronous runs in a thread, once for the whole batch."""
        job = _begin(request)
        if job is None or isinstance(job, Response):
            return job
        try:
            if job.needs_thread:
                # It may query: connections that broke while all was quiet are closed first.
                await database_sync_to_async(job.load)()
            else:
                job.load()
            if job.needs_stack:
                await self._run_stack(job)
            elif (plain := job.revive()) is not None:
                await database_sync_to_async(run_plain)(job.batch, plain)
            else:
                await run_async(job.batch, job.batch.receive)
        except Exception as error:
            self._failed(job, error)
        try:
            if (send := send_off(job.batch)) is not None:
                await sync_to_async(send)()
            if (store := job.conclude()) is not None:
                await sync_to_async(store)()
        except Exception as error:
            self._failed(job, error)
        return job.response()

    def _failed(self, job: _Job, error: Exception) -> None:
        """What went wrong becomes an end of the connection; tests want to see it, too."""
        job.failed(error)

    async def _run_stack(self, job: _Job) -> None:
        batch = job.batch
        application = self._application()
        genuine.fit()
        known = registry.known() if batch.state is None else None
        # Something other than a consumer may ask for one message more.
        with suppress(EndOfBatch):
            await application(dict(batch.base_scope), batch.receive, batch.send)
        if known is not None and batch.consumer is not None:
            registry.note_arrival(type(batch.consumer), known)
        if batch.consumer is None and batch.exchange.state is State.OPEN:
            raise StateError(
                "The application accepted a WebSocket without a consumer of grip_consumers. Between two batches only "
                "a consumer can be kept: route the path to one, with as_asgi()."
            )


def _make_caches() -> None:
    """Django keeps its caches by context: made in a batch's own, each would connect anew for every batch."""
    if len(caches.all(initialized_only=True)) == len(caches.settings):
        return
    for alias in caches:
        # One that cannot be made fails where it is used, if it is.
        with suppress(ImproperlyConfigured, ImportError):
            caches[alias]


def _begin(request: BatchRequest) -> Response | _Job | None:
    """Verify and decode. A response, if the batch is refused or needs no consumer; None if a view is to answer it."""
    if request.state is None and request.view_state is not None:
        return None
    settings = conf.get()
    try:
        verify(request.signature, settings, grace=grace_for(request.body))
        if not request.connection_id:
            raise RemoteProtocolError("expected a Connection-Id header, got none")
        events = decode(request.body, max_events=settings.batch_max_events, max_size=settings.batch_max_size)
        exchange = Exchange(events)
    except RemoteProtocolError as error:
        return Response(error.status_hint, [("Content-Type", "text/plain")], f"{error}\n".encode())
    job = _Job(Batch(request, exchange, settings))
    if exchange.opening or (job.open_state() and job.needs_consumer):
        return job
    while exchange.next_event() is not None:
        pass
    return exchange.response()


class _Job:
    """A batch on its way through the dispatcher, with where its state comes from and goes to."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.reference: Reference | None = None
        self.renew = False
        self.unrouted = False
        #: Found out with the state: it is asked for more than once, and the answer takes a while.
        self.looks_for_mail = False

    @property
    def needs_stack(self) -> bool:
        return self.batch.exchange.opening or self.batch.stack_runs

    @property
    def needs_consumer(self) -> bool:
        """Whether there is something to do but to answer pings."""
        # Each batch puts off the proxy's keep-alive, which a tick has to be called by.
        found = self.looks_for_mail or bool(self.batch.inbox.tick)
        return not self.batch.exchange.heartbeat or self.reference is not None or found

    def open_state(self) -> bool:
        """Open the state that the proxy handed back. False if there is none to be had.

        The connection then ends; unless it has ended, or nothing but pings has come.
        """
        request = self.batch.request
        if request.state == ENDED or (request.state is None and self.batch.exchange.heartbeat):
            # Among them the echo of a close that the backend has sent.
            return False
        try:
            if request.state is None:
                raise StateError("the batch brought no state, though it does not open a connection")
            found, self.renew = open_token(request.state, request.identity, self.batch.settings)
        except (StateError, ValueError) as error:
            if not self.batch.exchange.heartbeat:
                self._restart(error)
            return False
        # The state names a class, whose module is best imported in the order in which the project does.
        registry.load_routing()
        if isinstance(found, Reference):
            self.reference = found
        else:
            self._adopt(found)
        return True

    @property
    def needs_thread(self) -> bool:
        """Whether `load` has to wait for something outside of this process."""
        return (
            self.reference is not None
            or self.batch.settings.recheck_session
            or (self.looks_for_mail and mailbox.get().blocking)
        )

    def load(self) -> None:
        """Fetch what the batch needs beside its request: a state that lies in the cache, mail, and the tick.

        Raises SealBroken.
        """
        if self.reference is not None:
            self._adopt(load(self.reference, self.batch.request.identity, self.batch.settings))
        if self.batch.settings.recheck_session and not self.batch.exchange.parting:
            self._recheck_session()
        if self.looks_for_mail and not self.batch.revoked:
            collect(self.batch)
        if not self.batch.revoked and ticking.is_due(self.batch):
            ticking.deliver(self.batch)

    def _recheck_session(self) -> None:
        if self.batch.state is None:
            return
        try:
            self.batch.revoked = identity.session_is_gone(scope_of(self.batch))
        except Exception:
            # Not known to be gone: a database that restarts does not end all connections.
            logger.exception("The session of a connection to %s cannot be checked", self.batch.consumer_name)

    def _adopt(self, state: ConnectionState) -> None:
        batch = self.batch
        batch.state, batch.stack_runs = state, state.stack_runs
        batch.channel_name, batch.groups = state.channel_name, dict(state.groups)
        batch.consumer_name, batch.inbox = state.consumer, state.inbox.copy()
        self.looks_for_mail = may_have_mail(batch)

    def revive(self) -> PlainDispatch | None:
        """Put the consumer of the state onto the batch. Raises StateError for one that is gone."""
        state = self.batch.state
        if state is None:
            raise StateError("There is no state to revive a consumer from.")
        try:
            return revive(self.batch, state)
        except (ImportError, AttributeError, LookupError) as error:
            raise StateError(f"{state.consumer} cannot be revived: {error}") from error

    def conclude(self) -> Callable[[], None] | None:
        """Capture and seal. What is left to do with the cache, if anything. Raises UnkeepableState."""
        batch, reference = self.batch, self.reference
        if batch.ended:
            batch.exchange.set_meta(STATE_META, ENDED)
        if batch.ended or batch.exchange.state not in _KEPT:
            return None if reference is None else lambda: delete(reference, batch.settings)
        follow_up(batch)
        state = capture(batch) or (batch.state if self.renew else None)
        if state is None:
            return None
        token, entries = seal_state(state, batch.request.identity, batch.settings)
        batch.exchange.set_meta(STATE_META, token)
        if entries:
            return lambda: save(entries, batch.settings)
        return None if reference is None else lambda: delete(reference, batch.settings)

    def response(self) -> Response | None:
        batch = self.batch
        if self.unrouted:
            return None
        if batch.exchange.state is State.CONNECTING:
            logger.error("The application on %s neither accepted nor closed the connection", batch.request.path)
            batch.exchange.fail()
        batch.release()
        try:
            return batch.exchange.response()
        except LocalProtocolError:
            logger.exception("The answer to a batch for %s cannot be sent", self.batch.consumer_name)
            return _last_words(self.batch.exchange.opening)

    def failed(self, error: Exception) -> None:
        """Turn what went wrong into an end of the connection that its client can read."""
        exchange = self.batch.exchange
        no_route = isinstance(error, NoRoute) or genuine.is_no_route(error)
        if no_route and exchange.state is State.CONNECTING:
            self.unrouted = True
        elif (no_route or isinstance(error, StateError)) and self.batch.consumer is None and not exchange.opening:
            self._restart(error)
        else:
            batch = self.batch
            name = batch.consumer_name or "the application"
            logger.error("Exception in %s on %s", name, batch.request.path, exc_info=error)
            exchange.fail()
            self._end()

    def _restart(self, error: Exception) -> None:
        # No traceback: what a client or an outdated process sent is not an error of this one.
        logger.warning("Closed a connection with %d: %s", _SERVICE_RESTART, error)
        self.batch.exchange.fail(_SERVICE_RESTART)
        self._end()

    def _end(self) -> None:
        # Here too, as the capture itself may have failed.
        self.batch.ended = True
        self.batch.exchange.set_meta(STATE_META, ENDED)


def _last_words(opening: bool) -> Response:
    exchange = Exchange([])
    exchange.close(1011)
    exchange.set_meta(STATE_META, ENDED)
    return Response(500, [], b"Internal Server Error") if opening else exchange.response()
