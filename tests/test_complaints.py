"""Warnings at run time: worded by the rule, and once for each place."""

from __future__ import annotations

import pytest

from grip_consumers import complaints
from grip_consumers.compatibility import RULES


@pytest.fixture(autouse=True)
def _nothing_has_been_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "_said", set())


def test_a_warning_says_who_does_what_and_why_that_fails_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    complaints.warn_once("timer", "chat.consumers:Chat", "sets a timer")
    rule = RULES["timer"]
    assert caplog.messages == [f"chat.consumers.Chat sets a timer. {rule.why} {rule.advice}"]
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("grip_consumers.compatibility", "WARNING")
    ]


def test_the_same_is_said_once_and_another_thing_again(caplog: pytest.LogCaptureFixture) -> None:
    for about in ("a", "b", "a"):
        complaints.warn_once("timer", "chat:Chat", f"does {about}", about)
    complaints.warn_once("timer", "chat:Other", "does a", "a")
    complaints.warn_once("late-accept", "chat:Chat", "does a", "a")
    assert [message.partition(".")[2].partition(".")[0] for message in caplog.messages] == [
        "Chat does a",
        "Chat does b",
        "Other does a",
        "Chat does a",
    ]
