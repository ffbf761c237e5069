"""The transition table, held against what its text promises."""

from __future__ import annotations

import pytest

from grip_consumers.protocol import LocalProtocolError, State
from grip_consumers.protocol.states import TRANSITIONS, Action, after

ENDS = [State.CLOSING, State.CLOSED, State.REJECTED]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("action", Action)
def test_what_the_table_leaves_out_is_refused_naming_state_and_action(state, action):
    if (state, action) in TRANSITIONS:
        assert after(state, action) is TRANSITIONS[state, action]
        return
    with pytest.raises(LocalProtocolError) as caught:
        after(state, action)
    known = "Socket has not been accepted, so cannot send over it"
    assert str(caught.value) == known or (state.name in str(caught.value) and action.value in str(caught.value))


def test_only_connecting_can_be_decided():
    assert [state for state, action in TRANSITIONS if action is Action.ACCEPT] == [State.CONNECTING]
    assert [state for state, action in TRANSITIONS if action is Action.REJECT] == [State.CONNECTING]


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("action", [Action.SEND, Action.CONTROL, Action.CLOSE, Action.RESPOND])
def test_the_ends_swallow_what_is_sent(state, action):
    assert after(state, action) is state


def test_no_action_leads_back():
    order = [State.CONNECTING, State.OPEN, State.CLOSING, State.CLOSED, State.REJECTED]
    assert all(order.index(new) >= order.index(old) for (old, _), new in TRANSITIONS.items())


def test_an_open_connection_stays_open_while_sending():
    # Exchange relies on this row without looking it up.
    assert after(State.OPEN, Action.SEND) is State.OPEN
    assert after(State.OPEN, Action.RESPOND) is State.OPEN


def test_the_words_of_a_refusal():
    with pytest.raises(LocalProtocolError, match=r"^cannot accept in state OPEN: expected CONNECTING$"):
        after(State.OPEN, Action.ACCEPT)
    with pytest.raises(LocalProtocolError, match=r"^Socket has not been accepted, so cannot send over it$"):
        after(State.CONNECTING, Action.SEND)
