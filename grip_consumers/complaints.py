"""Says at run time that a consumer breaks one of the rules of `compatibility`: once for each place."""

from __future__ import annotations

import asyncio
import linecache
import logging
import sys
import threading
from types import FrameType

from grip_consumers.compatibility import RULES
from grip_consumers.scan import scan

__all__ = ["left_running", "look_at_stack", "say_once", "warn_once"]

logger = logging.getLogger("grip_consumers.compatibility")

_said: set[tuple[str, str, str]] = set()


def warn_once(name: str, consumer: str, what: str, about: str = "") -> None:
    """Log that `consumer` breaks the rule `name`, unless this process has said so `about` it before."""
    rule = RULES[name]
    say_once((name, consumer, about), "%s %s. %s %s", consumer.replace(":", "."), what, rule.why, rule.advice)


def say_once(key: tuple[str, str, str], text: str, *values: object) -> None:
    """Log a warning, unless this process has done so under `key` before."""
    if key not in _said:
        _said.add(key)
        logger.warning(text, *values)


def look_at_stack() -> None:
    """Warn of what counts on running as long as the connection, among the applications that called the caller.

    The source of each is read once.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (module := str(frame.f_globals.get("__name__"))) not in _BELOW:
        place = (frame.f_code.co_filename, frame.f_code.co_firstlineno)
        if place not in _looked_at:
            _looked_at.add(place)
            if module.partition(".")[0] not in _FRAMEWORKS:
                _look_at(frame, module)
        frame = frame.f_back


def _look_at(frame: FrameType, module: str) -> None:
    file, line = frame.f_code.co_filename, frame.f_code.co_firstlineno
    text = "".join(linecache.getlines(file, frame.f_globals))
    try:
        found = scan(text, file, classes=(), lines={line: frame.f_lineno})
    except (SyntaxError, ValueError):
        # No Python: it was made up while running.
        return
    for finding in found:
        what = f"{finding.detail} ({finding.file}:{finding.line})"
        warn_once(finding.rule.name, f"{module}.{finding.where}", what, finding.detail)


#: Where the first lines of functions lie that have been looked at.
_looked_at: set[tuple[str, int]] = set()
#: What calls the outermost application.
_BELOW = frozenset({"grip_consumers.dispatcher", "asyncio.events"})
_FRAMEWORKS = frozenset({"asgiref", "channels", "django", "grip_consumers"}) | sys.stdlib_module_names


def left_running() -> tuple[str, str]:
    """What the caller runs in, if a handler has left it running, and the name of the rule about that."""
    if isinstance(threading.current_thread(), threading.Timer):
        return "a threading.Timer", "timer"
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return "a thread", "background-task"
    return ("a task", "background-task") if task is not None else ("a timer of the event loop", "timer")
