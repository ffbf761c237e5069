"""For all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections

# A script's background job (`make test &`) ignores Ctrl-C, and so would all servers that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_connection_is_left_in_the_thread_of_asynchronous_tests() -> Iterator[None]:
    """The asynchronous ORM opens its connections in a thread of asgiref's; a test without a database stumbles on them.

    The thread is asked directly: an event loop for each of some thousand tests would take seconds.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result(timeout=30)
