"""Each rule is found by the system check, said at run time where it strikes, and has its row in the documentation."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.checks import run_checks

from grip_consumers import checks, complaints, registry, watch
from grip_consumers.compatibility import RULES, Rule, advise
from grip_consumers.protocol import Open, Text

from . import batches, broken_consumers

wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site

PAGE = Path(__file__).parent.parent / "docs" / "compatibility.md"
NAMES = list(RULES)
IDS = {rule.check_id for rule in RULES.values()}


def breaker(name: str) -> type:
    return getattr(broken_consumers, name.title().replace("-", ""))


@pytest.fixture(autouse=True)
def _nothing_has_been_said(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    monkeypatch.setattr(complaints, "_said", set())
    monkeypatch.setattr(complaints, "_looked_at", set())
    monkeypatch.setattr(watch, "_next_look", 0.0)
    monkeypatch.setattr(watch, "_REST", 0)
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"},
        "ordinary": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
    }
    yield
    broken_consumers.late_errors.clear()
    broken_consumers.rooms.clear()


def wait_for_error() -> str:
    deadline = time.monotonic() + 10
    while not broken_consumers.late_errors and time.monotonic() < deadline:
        time.sleep(0.005)
    return str(broken_consumers.late_errors[0])


# The table -----------------------------------------------------------------------------------------------------------


def test_ids_are_in_order_and_names_are_theirs() -> None:
    ids = [rule.id for rule in RULES.values()]
    assert ids == sorted(set(ids))
    assert all(RULES[rule.name] is rule for rule in RULES.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_worded_in_sentences(name: str) -> None:
    rule = RULES[name]
    assert re.fullmatch(r"W\d{3}", rule.id)
    assert rule.what[0].islower()
    assert rule.what[-1] not in ".:;"
    for text in (rule.why, rule.cure):
        assert text[0].isupper()
        assert text.endswith(".")


def test_advice_is_the_cure_with_the_id_of_the_check() -> None:
    rule = Rule("W099", "thing", "does a thing", "It fails.", "Do another.")
    assert rule.check_id == "grip_consumers.W099"
    assert rule.advice == "Do another. (grip_consumers.W099)"
    assert advise("timer") == RULES["timer"].advice


def test_there_is_no_advice_on_what_is_no_rule() -> None:
    with pytest.raises(KeyError):
        advise("nothing")


# The documentation ---------------------------------------------------------------------------------------------------


def test_the_documentation_has_a_row_for_each_rule_and_no_other() -> None:
    rows = re.findall(r"^\| `(W0[2-9]\d)` \|.*\|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [rule.id for rule in RULES.values()]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_what_the_rule_says(name: str) -> None:
    rule = RULES[name]
    assert f"| `{rule.id}` | A consumer {rule.what} | {rule.why} | {rule.cure} |" in PAGE.read_text().splitlines()


# The check -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_check_finds_it(name: str, wsgi_site, settings) -> None:
    cls = breaker(name)
    registry.register(cls)
    settings.DEBUG = True
    found = [message for message in run_checks(tags=[checks.TAG]) if message.id in IDS]
    assert [message.id for message in found] == [RULES[name].check_id]
    assert re.match(rf"{re.escape(broken_consumers.__file__)}:\d+: .*{cls.__name__}", found[0].msg)
    assert found[0].hint == f"{RULES[name].why} {RULES[name].cure}"


# At run time ---------------------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "grip_consumers.compatibility"]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = (record.exc_info for record in caplog.records if record.name == "grip_consumers.dispatcher")
    return [str(info[1]) for info in found if info]


async def test_a_task_that_is_left_running_is_warned_of_and_cannot_send(asgi_site, caplog) -> None:
    asgi_site.serve(breaker("background-task"))
    await asgi_site.client().apost(Open())
    (text,) = warnings(caplog)
    assert text.startswith(
        "tests.broken_consumers.BackgroundTask leaves a task running when its handler returns: BackgroundTask.tell(). "
    )
    assert text.endswith(advise("background-task"))
    deadline = time.monotonic() + 10
    while not broken_consumers.late_errors and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    assert str(broken_consumers.late_errors[0]).endswith(
        f"from a task that a handler left running. {advise('background-task')}"
    )


def test_a_handler_that_takes_long_is_warned_of(wsgi_site, caplog, monkeypatch) -> None:
    monkeypatch.setattr(watch, "SLOW", 0.005)
    wsgi_site.serve(breaker("sleeping-loop"))
    wsgi_site.opened()
    (text,) = warnings(caplog)
    assert text.startswith("tests.broken_consumers.SleepingLoop has been handling messages for seconds, while nothing")
    assert text.endswith(advise("sleeping-loop"))


def test_the_layer_has_nothing_to_receive_in_a_handler(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("layer-receive"))
    wsgi_site.opened().post(Text("x"))
    (text,) = errors(caplog)
    assert text.endswith(advise("layer-receive"))


def test_a_value_that_cannot_be_kept_is_an_error(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("unkeepable-state"))
    wsgi_site.client().post(Open())
    (text,) = errors(caplog)
    assert text.endswith("(grip_consumers.W024)")


def test_a_late_accept_is_an_error(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("late-accept"))
    wsgi_site.opened().post(Text("x"))
    assert errors(caplog) == [f"cannot accept in state OPEN: connect() has returned. {advise('late-accept')}"]


def test_a_timer_cannot_send(wsgi_site) -> None:
    wsgi_site.serve(breaker("timer"))
    wsgi_site.opened().post(Text("x"))
    assert wait_for_error().endswith(f"from a threading.Timer that a handler left running. {advise('timer')}")


def test_a_dictionary_of_the_module_that_a_handler_fills_is_warned_of(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("process-state"))
    wsgi_site.opened()
    (text,) = warnings(caplog)
    assert text.startswith("tests.broken_consumers.ProcessState changes tests.broken_consumers.rooms, which only this")
    assert text.endswith(advise("process-state"))


def test_one_group_too_many_is_an_error(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("too-many-groups"))
    wsgi_site.client().post(Open())
    (text,) = errors(caplog)
    assert text.endswith(advise("too-many-groups"))


def test_groups_of_an_ordinary_layer_are_warned_of(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("ordinary-layer"))
    wsgi_site.opened()
    (text,) = warnings(caplog)
    assert "with a channels.layers.InMemoryChannelLayer, which does not reach" in text
    assert text.endswith(advise("ordinary-layer"))


def test_a_class_that_no_import_finds_is_an_error(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("local-class"))
    wsgi_site.client().post(Open())
    (text,) = errors(caplog)
    assert text.endswith(advise("local-class"))


def test_a_call_that_outlasts_its_batch_is_warned_of(wsgi_site, caplog) -> None:
    wsgi_site.serve(breaker("lasting-call"))
    wsgi_site.opened()
    (text,) = warnings(caplog)
    assert text.startswith(
        "tests.broken_consumers.LastingCall.__call__ does in `finally`, around the inner application: note('gone') "
        f"({broken_consumers.__file__}:"
    )
    assert text.endswith(advise("lasting-call"))
