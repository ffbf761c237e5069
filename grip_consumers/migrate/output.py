"""Standard output and standard error, of which neither may end a run that is changing files."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["Output"]


class Output:
    """Takes what a run shows and says.

    fault  why standard output does not take it any more; "" also if its reader has simply gone, as `head` does
    """

    def __init__(self) -> None:
        self.fault = ""

    def show(self, data: bytes) -> None:
        """To standard output, as it is."""
        try:
            _put(sys.stdout, data)
        except BrokenPipeError:
            _silence(sys.stdout)
        except (OSError, ValueError) as error:
            _silence(sys.stdout)
            self.fault = str(error)

    def show_line(self, text: str) -> None:
        """To standard output, with escapes for what its encoding does not have."""
        self.show(_encoded(sys.stdout, text))

    def say(self, text: str) -> None:
        """A line to standard error, likewise."""
        try:
            _put(sys.stderr, _encoded(sys.stderr, text))
        except (OSError, ValueError):
            _silence(sys.stderr)


def _encoded(stream: TextIO | None, text: str) -> bytes:
    encoding = stream.encoding if stream is not None else None
    return f"{text}\n".encode(encoding or "utf-8", "backslashreplace")


def _put(stream: TextIO | None, data: bytes) -> None:
    if stream is None:  # closed before the program began
        return
    stream.flush()
    stream.buffer.write(data)
    # At once, so that both streams show on one terminal in the order of what was said.
    stream.buffer.flush()


def _silence(stream: TextIO | None) -> None:
    """What is left in its buffer would fail again at the end of the process, and change the exit status."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
