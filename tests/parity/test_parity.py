"""Each script is run against Channels and against the migrated site: what the clients saw must be equal.

Some of them also against the site as it was, consumers of Channels behind a proxy. With `GRIP_TESTS_LONG=1` all are,
and each script is run on all of the migrated site's four ways; without, on two that have nothing in common.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fleet import TARGETS, Fleet, Target

from . import behaviours
from .behaviours import Behaviour
from .client import Client, Record, ScriptStoppedError
from .conftest import References

BEHAVIOURS = behaviours.load()

#: Seconds that a script may take.
LONGEST = 40.0
NOT_FOUND = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    "  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)


@dataclass(frozen=True)
class Difference:
    """What cannot be equal, and why: records of Channels and what stands in their place here.

    `only` begins the names of the targets that it is about; all if it is empty.
    """

    reason: str
    replaced: tuple[tuple[Record, Record], ...]
    only: str = ""


NO_ROUTE = Difference(
    "Channels fails with ValueError, so its server says 500; here such a path is Django's, which says 404",
    ((("refused", "client", 500, [], "Internal Server Error"), ("refused", "client", 404, [], NOT_FOUND)),),
)
DIFFERENCES: dict[str, Difference] = {
    "a_path_without_a_route_is_refused": NO_ROUTE,
    "paths_are_decoded_once": NO_ROUTE,
    "stop_consumer_ends_the_connection": Difference(
        "Channels leaves the end to its server: uvicorn cuts the connection, Daphne keeps it, we close it",
        ((("dropped", "client", 1006), ("closed", "client", 1000, "")),),
    ),
    "stop_consumer_in_a_group_handler_ends_one_member": Difference(
        "Channels leaves the end to its server: uvicorn cuts the connection, Daphne keeps it, we close it",
        ((("dropped", "b", 1006), ("closed", "b", 1000, "")),),
    ),
    "the_client_closes_without_a_code": Difference(
        "Pushpin answers a close frame without a code with 1000, whatever its backend says",
        ((("closed", "client", 1005, ""), ("closed", "client", 1000, "")),),
        only="pushpin",
    ),
}

#: What this release refuses with an error that says so, and the targets that it is about (all of them if empty).
#: Strict: a behaviour that comes true has to leave this table.
NOT_YET: dict[str, tuple[str, str]] = {}

LONG = os.environ.get("GRIP_TESTS_LONG", "") not in {"", "0"}

#: Each of the proxies and each of the servers, by turns in the one and in the other combination.
PAIRS = (("embedded-uvicorn", "pushpin-gunicorn"), ("embedded-gunicorn", "pushpin-uvicorn"))

#: What is left to genuine classes of Channels in another way than to ours, each at least once.
OF_GENUINE = {
    "a_handler_that_fails_for_all_ends_all",
    "a_path_without_a_route_is_refused",
    "a_room_relays_to_all_in_order",
    "a_session_of_a_login_over_the_socket_is_stored",
    "stop_consumer_ends_the_connection",
}


def every(chosen: Sequence[Behaviour] = BEHAVIOURS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("behaviour", chosen, ids=lambda behaviour: behaviour.name)


def by_ways() -> list[Any]:
    """The behaviours with the targets on which each is shown."""
    return [
        pytest.param(behaviour, name, id=f"{name}-{behaviour.name}")
        for number, behaviour in enumerate(BEHAVIOURS)
        for name in (TARGETS if LONG else PAIRS[number % 2])
    ]


async def transcript(behaviour: Behaviour, url: str) -> list[Record]:
    """Run the script and return what its clients saw, up to where it stopped if something did not come."""
    client = Client(url)
    try:
        await asyncio.wait_for(behaviour.script(client), LONGEST)
    except asyncio.TimeoutError:
        client.record("script stopped", "it took too long")
    except ScriptStoppedError as stop:
        client.record("script stopped", str(stop))
    finally:
        await client.close()
    return client.transcript


async def reference_transcript(behaviour: Behaviour, references: References) -> list[Record]:
    """What Channels shows; each script is run there once."""
    if behaviour.name not in references.transcripts:
        server = references.servers[behaviour.reference]
        server.mark()
        references.transcripts[behaviour.name] = await transcript(behaviour, server.url)
    return references.transcripts[behaviour.name]


@every()
async def test_channels_shows_the_behaviour(behaviour: Behaviour, references: References) -> None:
    seen = await reference_transcript(behaviour, references)
    missing = [record for record in behaviour.shows if record not in seen]
    assert not missing, f"{seen}\n{references.servers[behaviour.reference].log()}"
    assert seen[-1][0] != "script stopped"


@pytest.mark.parametrize(("behaviour", "name"), by_ways())
async def test_the_migrated_site_shows_the_same(
    behaviour: Behaviour, name: str, references: References, fleet: Fleet, request: pytest.FixtureRequest
) -> None:
    reason, only = NOT_YET.get(behaviour.name, ("", "-"))
    if name.startswith(only):
        request.applymarker(pytest.mark.xfail(raises=AssertionError, strict=True, reason=reason))
    await _assert_same(behaviour, fleet.targets[name], references)


@every([behaviour for behaviour in BEHAVIOURS if LONG or behaviour.name in OF_GENUINE])
@pytest.mark.parametrize("name", ["embedded-daphne", *(TARGETS if LONG else ())])
async def test_the_site_as_it_was_shows_the_same_behind_a_proxy(
    behaviour: Behaviour, as_it_was: Target, references: References
) -> None:
    await _assert_same(behaviour, as_it_was, references)


@pytest.fixture
def as_it_was(name: str, request: pytest.FixtureRequest) -> Target:
    if name in TARGETS:
        found: Target = request.getfixturevalue("unmigrated_fleet").targets[name]
    else:
        found = request.getfixturevalue("both_ways")[name]
    return found


async def _assert_same(behaviour: Behaviour, target: Target, references: References) -> None:
    expected = _expected(behaviour, target.name, await reference_transcript(behaviour, references))
    target.mark()
    seen = await transcript(behaviour, target.url)
    assert seen == expected, f"{_difference(expected, seen)}\n{target.log()[-4000:]}"


def _expected(behaviour: Behaviour, target: str, there: list[Record]) -> list[Record]:
    """What Channels showed, with what is documented to differ put in its place."""
    difference = DIFFERENCES.get(behaviour.name)
    if difference is None or not target.startswith(difference.only):
        return there
    replaced = difference.replaced
    return [next((ours for theirs, ours in replaced if theirs == record), record) for record in there]


def _difference(expected: list[Record], seen: list[Record]) -> str:
    lines = difflib.ndiff(list(map(repr, expected)), list(map(repr, seen)))
    return "- on Channels, + here\n" + "\n".join(line for line in lines if not line.startswith("?"))
