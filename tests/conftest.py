"""For all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from django.db.backends.signals import connection_created
from django.dispatch import receiver

# A hundred server processes import the same modules: compiling them anew for each takes half a minute.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A script's background job (`make test &`) ignores Ctrl-C, and so would all servers that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption("dist") != "loadfile":
        return None
    from .scheduling import Scheduling

    return Scheduling(config, log)


def pytest_collection() -> None:
    """What is collected stays until the end: the garbage collector need not look at it again and again as it grows."""
    gc.set_threshold(200_000, 50, 100)


def pytest_collection_finish() -> None:
    """Nor as often as by default afterwards."""
    gc.set_threshold(20_000, 20, 50)


_opened_elsewhere = threading.Event()


@receiver(connection_created)
def _note_a_connection(**details: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        _opened_elsewhere.set()


@pytest.fixture(autouse=True)
def _no_connection_is_left_in_the_thread_of_asynchronous_tests() -> Iterator[None]:
    """The asynchronous ORM opens its connections in a thread of asgiref's; a test without a database stumbles on them.

    That thread is asked directly, which needs no event loop, and only if there may be a connection: on a busy machine
    it takes milliseconds until it is its turn, and tests without a database are some thousand.
    """
    yield
    if _opened_elsewhere.is_set():
        _opened_elsewhere.clear()
        SyncToAsync.single_thread_executor.submit(connections.close_all).result(timeout=30)
