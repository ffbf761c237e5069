"""What one exchange may do when: the states of a connection and the actions that lead from one to another.

Theory of operation
===================

A WebSocket lives in the proxy; this side sees it only through batches, one request after the other. An
Exchange is the life of one of them. It is made from the request's events, asked for them one by one
(`next_event`), told what the application wants (`accept`, `send_text`, `close`, …), and finally asked for the
response. It does no I/O: whoever holds it reads the request before and writes the response after.

The machine has five states. A batch that begins with OPEN starts in CONNECTING: the client waits for an
answer to its handshake. Any other batch starts in OPEN, for the proxy sends one only for a connection that
was accepted.

    CONNECTING   nothing is decided. What the application sends now would have no connection to travel on, so
                 sending is an error. Subscribing is not: joining groups first and accepting then is the usual
                 order, so control messages wait, and follow the OPEN event that acceptance puts before them.
                 The decision must fall in this very response, since the proxy cannot be told later.
    OPEN         everything goes.
    CLOSING      we sent CLOSE. The proxy ignores whatever stands behind a CLOSE, so nothing is emitted any
                 more.
    CLOSED       the client sent CLOSE, or vanished. The client's CLOSE is answered at once with its own code,
                 since the client sees the code of the answer and a missing answer as an unclean end (RFC 6455
                 §5.5.1).
    REJECTED     the handshake gets an ordinary HTTP response instead of a connection.

The last three are ends: sends are dropped there without a word, as a socket's writes race its closing anyway
and the application cannot know. A second `accept`, or a `reject` where there is no handshake to refuse, is a
mistake of our own side and an error in every state where the table has no row for it. A refused action
changes nothing.

Two things trigger transitions: calls of the application, and, in `next_event`, a CLOSE or DISCONNECT that is
handed out (PEER_LEAVES). It counts from then on, not from the beginning of the batch: what the application
answers to the messages before the CLOSE is still delivered. `next_event` hands out every message whatever the
state.

Everything that decides about a transition is in `TRANSITIONS`.
"""

from __future__ import annotations

import enum

from .errors import LocalProtocolError

__all__ = ["TRANSITIONS", "Action", "State", "after"]


class State(enum.Enum):
    """Where the connection stands, as far as this exchange knows."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    REJECTED = "rejected"


class Action(enum.Enum):
    """What happens to a connection; the values complete "cannot …"."""

    ACCEPT = "accept"
    REJECT = "reject"
    SEND = "send"
    CONTROL = "send a control message"
    CLOSE = "close"
    PEER_LEAVES = "take the peer's leave"
    RESPOND = "respond"


TRANSITIONS: dict[tuple[State, Action], State] = {
    # The handshake.
    (State.CONNECTING, Action.ACCEPT): State.OPEN,
    (State.CONNECTING, Action.REJECT): State.REJECTED,
    (State.CONNECTING, Action.CLOSE): State.REJECTED,
    (State.CONNECTING, Action.CONTROL): State.CONNECTING,
    (State.CONNECTING, Action.PEER_LEAVES): State.CLOSED,
    # The connection.
    (State.OPEN, Action.SEND): State.OPEN,
    (State.OPEN, Action.CONTROL): State.OPEN,
    (State.OPEN, Action.CLOSE): State.CLOSING,
    (State.OPEN, Action.PEER_LEAVES): State.CLOSED,
    (State.OPEN, Action.RESPOND): State.OPEN,
    # The ends, where what is sent goes nowhere.
    (State.CLOSING, Action.SEND): State.CLOSING,
    (State.CLOSING, Action.CONTROL): State.CLOSING,
    (State.CLOSING, Action.CLOSE): State.CLOSING,
    (State.CLOSING, Action.PEER_LEAVES): State.CLOSED,
    (State.CLOSING, Action.RESPOND): State.CLOSING,
    (State.CLOSED, Action.SEND): State.CLOSED,
    (State.CLOSED, Action.CONTROL): State.CLOSED,
    (State.CLOSED, Action.CLOSE): State.CLOSED,
    (State.CLOSED, Action.RESPOND): State.CLOSED,
    (State.REJECTED, Action.SEND): State.REJECTED,
    (State.REJECTED, Action.CONTROL): State.REJECTED,
    (State.REJECTED, Action.CLOSE): State.REJECTED,
    (State.REJECTED, Action.PEER_LEAVES): State.REJECTED,
    (State.REJECTED, Action.RESPOND): State.REJECTED,
}

#: Refusals that users of Channels know, or that need a word of advice.
_REFUSALS: dict[tuple[State, Action], str] = {
    (State.CONNECTING, Action.SEND): "Socket has not been accepted, so cannot send over it",
    (State.CONNECTING, Action.RESPOND): "cannot respond in state CONNECTING: accept or reject first",
}


def after(state: State, action: Action) -> State:
    """Return the state to which `action` leads from `state`.

    Raises:
        LocalProtocolError: the table has no row for it.
    """
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        raise LocalProtocolError(_refusal(state, action)) from None


def _refusal(state: State, action: Action) -> str:
    possible = " or ".join(known.name for known, what in TRANSITIONS if what is action)
    plain = f"cannot {action.value} in state {state.name}: expected {possible}"
    return _REFUSALS.get((state, action), plain)
