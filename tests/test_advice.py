from __future__ import annotations

import pytest

from grip_consumers.advice import DIRECT_WEBSOCKET


@pytest.mark.parametrize("said", ["501 Not Implemented", ",over_http", "GRIP_URL", "GRIP_PROXIES", "runserver"])
def test_somebody_at_the_wrong_door_is_told_what_to_do(said: str) -> None:
    assert said in DIRECT_WEBSOCKET


def test_the_advice_fits_a_terminal_and_a_header_less_response() -> None:
    assert DIRECT_WEBSOCKET.isascii()
    assert DIRECT_WEBSOCKET.endswith("\n")
    assert max(map(len, DIRECT_WEBSOCKET.splitlines())) <= 120
