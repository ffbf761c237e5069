"""For all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections


@pytest.fixture(autouse=True)
def _no_connection_is_left_in_the_thread_of_asynchronous_tests() -> Iterator[None]:
    """The asynchronous ORM opens its connections in a thread of asgiref's; a test without a database stumbles on them.

    The thread is asked directly: an event loop for each of some thousand tests would take seconds.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result(timeout=30)
