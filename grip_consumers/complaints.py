"""Says at run time that a consumer breaks one of the rules of `compatibility`: once for each place."""

from __future__ import annotations

import asyncio
import logging
import threading

from grip_consumers.compatibility import RULES

__all__ = ["left_running", "warn_once"]

logger = logging.getLogger("grip_consumers.compatibility")

_said: set[tuple[str, str, str]] = set()


def warn_once(name: str, consumer: str, what: str, about: str = "") -> None:
    """Log that `consumer` breaks the rule `name`, unless this process has said so `about` it before."""
    key = (name, consumer, about)
    if key not in _said:
        _said.add(key)
        rule = RULES[name]
        logger.warning("%s %s. %s %s", consumer.replace(":", "."), what, rule.why, rule.advice)


def left_running() -> tuple[str, str]:
    """What the caller runs in, if a handler has left it running, and the name of the rule about that."""
    if isinstance(threading.current_thread(), threading.Timer):
        return "a threading.Timer", "timer"
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return "a thread", "background-task"
    return ("a task", "background-task") if task is not None else ("a timer of the event loop", "timer")
