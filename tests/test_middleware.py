from __future__ import annotations

from typing import Any

import channels.middleware
import pytest

import grip_consumers.middleware

both = pytest.mark.parametrize("module", [channels.middleware, grip_consumers.middleware], ids=["channels", "grip"])


@both
async def test_the_inner_application_gets_a_copy_of_the_scope_and_the_same_callables(module: Any) -> None:
    async def inner(*args: Any) -> str:
        args[0]["added"] = True
        got.extend(args)
        return "answer"

    async def callable_() -> None: ...

    got: list[Any] = []
    scope = {"type": "websocket"}
    receive, send = callable_, object()
    answer = await module.BaseMiddleware(inner)(scope, receive, send)
    assert answer == "answer"
    assert scope == {"type": "websocket"}
    assert got == [{"type": "websocket", "added": True}, receive, send]
    assert got[1] is receive
    assert got[2] is send


@both
def test_the_inner_application_is_an_attribute(module: Any) -> None:
    inner = object()
    assert module.BaseMiddleware(inner).inner is inner
