"""What is found in middleware, and in `__call__` of consumers, and what is as it should be."""

from __future__ import annotations

import textwrap
from pathlib import Path

import channels.auth
import channels.middleware
import channels.security.websocket
import channels.sessions
import pytest

from grip_consumers.scan import scan

HEAD = """
import asyncio
from contextlib import suppress
from itertools import count
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
"""


def found(text: str, **kwargs: object) -> list[tuple[str, str]]:
    findings = scan(HEAD + textwrap.dedent(text), "middleware.py", **kwargs)  # type: ignore[arg-type]
    return [(finding.where, finding.detail) for finding in findings if finding.rule.name == "lasting-call"]


def middleware(body: str) -> str:
    """A class with this body of `__call__`."""
    head = (
        "class Wrap:\n    def __init__(self, inner, get=None):\n        self.inner = inner\n        self.next = get\n\n"
    )
    call = "    async def __call__(self, scope, receive, send):\n"
    return head + call + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)


INNER = "await self.inner(scope, receive, send)"
COUNTING = """
seen = 0
async def counted():
    nonlocal seen
    seen += 1
    return await receive()
return await self.inner(scope, counted, send)
"""
LISTED = """
seen = []
async def limited(message):
    if len(seen) < 5:
        seen.append(message)
        await send(message)
return await self.inner(scope, receive, limited)
"""

UPPER = """
async def upper(message):
    headers = list(message["headers"])
    headers.append(1)
    message["headers"] = headers
    await send(message)
return await self.inner(scope, receive, upper)
"""
NAMED = """
names = []
names.append(scope["a"])
async def named(message):
    await send({**message, "a": names})
return await self.inner(scope, receive, named)
"""

#: The body of a middleware's __call__ → the beginning of what is found, in order.
BODIES = {
    "the inner application alone": (f"return {INNER}", []),
    "a result that is handed on": (f"result = {INNER}\nreturn result", []),
    "something before it": (f"scope = dict(scope, a=1)\nawait prepare(scope)\nreturn {INNER}", []),
    "one of two": (f"if scope['a']:\n    {INNER}\nelse:\n    await send(CLOSE)", []),
    "an early return": (f"if scope['a']:\n    {INNER}\n    return\nawait send(CLOSE)", []),
    "another one behind it": (f"if scope['a']:\n    {INNER}\nif scope['b']:\n    {INNER}", []),
    "something behind it": (f"{INNER}\ngauge.dec()", ["does when the inner application has returned: gauge.dec()"]),
    "something behind one of two": (
        f"if scope['a']:\n    {INNER}\nelse:\n    await send(CLOSE)\nscope['log'] = 1",
        ["does when the inner application has returned: scope['log'] = 1"],
    ),
    "something in what it returns": (
        f"{INNER}\nreturn done()",
        ["does when the inner application has returned: return"],
    ),
    "something in else": (
        f"try:\n    {INNER}\nexcept KeyError:\n    pass\nelse:\n    done()",
        ["does when the inner application has returned: done()"],
    ),
    "finally": (
        f"try:\n    return {INNER}\nfinally:\n    free(1)",
        ["does in `finally`, around the inner application: free(1)"],
    ),
    "finally around what comes before": (f"try:\n    a = f()\nfinally:\n    free(1)\nreturn {INNER}", []),
    "a broad except": (
        f"try:\n    return {INNER}\nexcept Exception as error:\n    report(error)\n    raise",
        ["catches what the inner application raises: Exception"],
    ),
    "a bare except": (
        f"try:\n    return {INNER}\nexcept:\n    await send(CLOSE)",
        ["catches what the inner application raises: everything"],
    ),
    "an except for the end of the task": (
        f"try:\n    return {INNER}\nexcept asyncio.CancelledError:\n    gone()\n    raise",
        ["catches what the inner application raises: asyncio.CancelledError"],
    ),
    "an except that does nothing": (f"try:\n    return {INNER}\nexcept Exception:\n    raise", []),
    "a named exception, as of a missing route": (
        f"try:\n    return {INNER}\nexcept ValueError:\n    await send(CLOSE)",
        [],
    ),
    "with": (
        f"with tracer.span('x'):\n    return {INNER}",
        ["keeps open around the inner application: tracer.span('x')"],
    ),
    "async with": (f"async with lock:\n    {INNER}", ["keeps open around the inner application: lock"]),
    "suppress of a named exception": (f"with suppress(KeyError):\n    {INNER}", []),
    "suppress of all": (
        f"with suppress(Exception):\n    {INNER}",
        ["keeps open around the inner application: suppress"],
    ),
    "with around what comes before": (f"with timed():\n    prepare()\nreturn {INNER}", []),
    "a time": (
        "await asyncio.wait_for(self.inner(scope, receive, send), 60)",
        ["sets the inner application a time: asyncio.wait_for("],
    ),
    "by another name": (
        "await self.next(scope, receive, send)\ngone()",
        ["does when the inner application has returned"],
    ),
    "a helper of its own": (f"await self.helper(scope, receive, send)\nlog()\nreturn {INNER}", []),
    "a counter": (COUNTING, ["counts on a variable to last as long as the connection: seen"]),
    "a list": (LISTED, ["counts on a variable to last as long as the connection: seen"]),
    "an object": (
        LISTED.replace("[]", "Counter()").replace("seen.append(message)", "seen.n += 1"),
        ["counts on a variable to last as long as the connection: seen"],
    ),
    "a counter that nobody is handed": (COUNTING.replace("scope, counted", "scope, receive"), []),
    "a wrapper that changes the message": (
        UPPER,
        [],
    ),
    "a wrapper that reads what was made before": (
        NAMED,
        [],
    ),
    "only HTTP": (
        f"if scope['type'] != 'http':\n    return {INNER}\nstarted = now()\n{INNER}\nlog(started)",
        [],
    ),
    "both, by their names": (
        f"if scope['type'] in ('http', 'websocket'):\n    {INNER}\n    log(1)",
        ["does when the inner application has returned: log(1)"],
    ),
}


@pytest.mark.parametrize(("body", "details"), BODIES.values(), ids=list(BODIES))
def test_a_middleware_is_found_to_last_or_not(body: str, details: list[str]) -> None:
    findings = found(middleware(body))
    assert [where for where, _ in findings] == ["Wrap.__call__"] * len(details)
    for (_, detail), expected in zip(findings, details, strict=True):
        assert detail.startswith(expected)


def test_functions_are_looked_at_as_well() -> None:
    text = """
        def wrap(inner):
            async def application(scope, receive, send):
                await inner(scope, receive, send)
                gone(scope)

            return application

        async def site(scope, receive, send):
            await pages(scope, receive, send)
            gone(scope)
    """
    assert found(text) == [
        ("wrap.application", "does when the inner application has returned: gone(scope)"),
    ]


@pytest.mark.parametrize(
    "call", ["super().__call__(scope, receive, send)", "AsyncWebsocketConsumer.__call__(self, *args)"]
)
def test_a_consumers_own_call_is_found(call: str) -> None:
    text = f"""
        class Chat(AsyncWebsocketConsumer):
            async def __call__(self, *args, **kwargs):
                scope, receive, send = args
                try:
                    await {call}
                finally:
                    self.offline()
    """
    (finding,) = found(text)
    assert finding == ("Chat.__call__", "does in `finally`, around the inner application: self.offline()")


def test_self_may_have_another_name() -> None:
    text = middleware(f"{INNER}\ngone()").replace("self", "this")
    assert [where for where, _ in found(text)] == ["Wrap.__call__"]


def test_all_variables_are_found_once_each() -> None:
    body = """
        first = 0
        second = {}
        async def counted():
            nonlocal first
            first += 1
            second["a"] = first
            second["b"] = first
            return await receive()
        return await self.inner(scope, counted, lambda message: send(message))
    """
    assert [detail.rpartition(" ")[2] for _, detail in found(middleware(body))] == ["first", "second"]


def test_a_line_can_be_marked_as_meant() -> None:
    assert found(middleware(f"{INNER}\ngauge.dec()  # grip: ignore[lasting-call]")) == []


def test_of_chosen_classes_and_lines_only_these_are_looked_at() -> None:
    text = middleware(f"{INNER}\ngone()")
    line = next(number for number, it in enumerate((HEAD + text).splitlines(), 1) if "def __call__" in it)
    assert found(text, classes=()) == []
    assert len(found(text, classes=(), lines=[line])) == len(found(text, classes=["Wrap"])) == 1


def test_a_decorated_function_begins_with_its_decorator() -> None:
    text = """
@traced
async def application(scope, receive, send):
    await Chat.as_asgi()(scope, receive, send)
    gone()
"""
    line = next(number for number, it in enumerate((HEAD + text).splitlines(), 1) if it == "@traced")
    assert len(found(text, classes=(), lines=[line])) == 1


WELL_BEHAVED = [
    Path(__file__).parent / "parity" / "site" / "middleware.py",
    *(Path(module.__file__) for module in (channels.auth, channels.middleware, channels.sessions)),
    Path(channels.security.websocket.__file__),
]


@pytest.mark.parametrize("path", WELL_BEHAVED, ids=lambda path: path.name)
def test_well_behaved_middleware_passes(path: Path) -> None:
    assert [finding for finding in scan(path.read_text(), path.name) if finding.rule.name == "lasting-call"] == []
