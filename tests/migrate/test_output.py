"""What is shown and said, on streams that do not take it."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from grip_consumers.migrate.output import Output


class Failing(io.BytesIO):
    """A stream's buffer that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: Any) -> int:
        raise self.error


def ascii_only(monkeypatch: pytest.MonkeyPatch, name: str, buffer: io.BytesIO) -> None:
    monkeypatch.setattr(sys, name, io.TextIOWrapper(buffer, "ascii"))


@pytest.mark.parametrize(("name", "method"), [("stdout", "show_line"), ("stderr", "say")])
def test_what_an_encoding_does_not_have_is_escaped(name: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    ascii_only(monkeypatch, name, buffer)
    getattr(Output(), method)("é\udcff")
    assert buffer.getvalue() == b"\\xe9\\udcff\n"


def test_a_reader_that_has_gone_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only(monkeypatch, "stdout", Failing(BrokenPipeError()))
    output = Output()
    output.show(b"x")
    output.show_line("x")
    assert output.fault == ""


def test_a_full_disk_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only(monkeypatch, "stdout", Failing(OSError("No space left")))
    output = Output()
    output.show(b"x")
    assert output.fault == "No space left"


def test_nothing_is_raised_where_nothing_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only(monkeypatch, "stderr", Failing(OSError("No space left")))
    Output().say("x")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_was_closed_from_the_start_is_no_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, None)
    output = Output()
    output.show_line("x")
    output.say("x")
    assert output.fault == ""
