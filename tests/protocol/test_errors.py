from __future__ import annotations

import pickle

import pytest

from grip_consumers.protocol import LocalProtocolError, ProtocolError, RemoteProtocolError


def test_both_culprits_share_one_base():
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)


def test_a_local_error_is_a_value_error_and_a_remote_one_is_not():
    with pytest.raises(ValueError, match="asked"):
        raise LocalProtocolError("asked")
    assert not issubclass(RemoteProtocolError, ValueError)


def test_a_remote_error_asks_for_400_unless_told():
    assert RemoteProtocolError("x").status_hint == 400
    assert RemoteProtocolError("x", status_hint=413).status_hint == 413


def test_a_remote_error_keeps_its_hint_through_pickle():
    again = pickle.loads(pickle.dumps(RemoteProtocolError("x", status_hint=403)))
    assert (str(again), again.status_hint) == ("x", 403)
