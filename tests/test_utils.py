from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from channels.utils import name_that_thing as channels_name_that_thing

from grip_consumers.utils import await_many_dispatch, name_that_thing


class Over(Exception):  # noqa: N818 - it ends a test's loop
    pass


def feeding(*messages: Any) -> Any:
    """A callable that gives one message a time, raises those that are exceptions, and then waits for ever."""
    left = list(messages)

    async def source() -> Any:
        if not left:
            await asyncio.Event().wait()
        message = left.pop(0)
        if isinstance(message, BaseException):
            raise message
        return message

    return source


async def test_what_all_sources_give_is_dispatched_in_the_order_of_each() -> None:
    got: list[int] = []

    async def dispatch(message: Any) -> None:
        got.append(message)
        if len(got) == 6:
            raise Over

    with pytest.raises(Over):
        await await_many_dispatch([feeding(1, 2, 3), feeding(11, 12, 13)], dispatch)
    assert [number for number in got if number < 10] == [1, 2, 3]
    assert [number for number in got if number > 10] == [11, 12, 13]


async def test_messages_are_dispatched_one_at_a_time() -> None:
    running = 0

    async def dispatch(message: Any) -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(0)
        assert running == 1
        running -= 1
        if message == "last":
            raise Over

    with pytest.raises(Over):
        await await_many_dispatch([feeding(1, 2, "last"), feeding(3, 4)], dispatch)


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_an_error_of_a_source_ends_all_others(place: int) -> None:
    sources = [feeding(), feeding(), feeding()]
    sources[place] = feeding(Over())
    before = asyncio.all_tasks()

    async def dispatch(message: Any) -> None:
        pytest.fail("nothing was given")

    with pytest.raises(Over):
        await await_many_dispatch(sources, dispatch)
    assert asyncio.all_tasks() == before


async def test_two_errors_at_once_give_the_first_and_leave_nothing_behind() -> None:
    before = asyncio.all_tasks()
    with pytest.raises(Over, match="first"):
        await await_many_dispatch([feeding(Over("first")), feeding(Over("second")), feeding()], lambda _: None)
    assert asyncio.all_tasks() == before


async def test_a_cancellation_reaches_the_sources_and_the_caller() -> None:
    started, cancelled = asyncio.Event(), []

    async def source() -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    task = asyncio.ensure_future(await_many_dispatch([source, source], lambda _: None))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True, True]


class Named:
    def method(self) -> None: ...

    @classmethod
    def made(cls) -> None: ...

    @staticmethod
    def plain() -> None: ...

    class Inner: ...


THINGS = {
    "a class": Named,
    "an instance": Named(),
    "a function of a class": Named.method,
    "a class method": Named.made,
    "a static method": Named.plain,
    "an inner class": Named.Inner,
    "a function": feeding,
    "a partial": functools.partial(feeding),
    "a text": "text",
    "nothing": None,
    "a module": functools,
    "an exception": ValueError,
}


@pytest.mark.parametrize("what", THINGS)
def test_a_thing_is_named_as_channels_names_it(what: str) -> None:
    assert name_that_thing(THINGS[what]) == channels_name_that_thing(THINGS[what])


@pytest.mark.parametrize(
    ("thing", "name"), [(Named().method, "tests.test_utils.method"), (len, "builtins.len")], ids=["method", "built in"]
)
def test_a_thing_is_named_where_channels_fails_to(thing: Any, name: str) -> None:
    assert name_that_thing(thing) == name
