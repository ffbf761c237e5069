"""Workers as processes: they share a channel, and stop without losing anything."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from grip_consumers.layers import GripChannelLayer
from grip_consumers.testing.processes import ServerProcess, wait_until
from tests import services
from tests.servers import ROOT, environment

PATIENCE = 60.0


class Workers:
    def __init__(self, folder: Path, prefix: str) -> None:
        self.file = folder / "handled"
        self.file.touch()
        self._folder = folder
        self._env = environment(
            {
                "DJANGO_SETTINGS_MODULE": "tests.end_to_end.site.worker.settings",
                "WORKER_REDIS": services.redis(),
                "WORKER_PREFIX": prefix,
                "WORKER_FILE": str(self.file),
            }
        )
        self.processes: list[ServerProcess] = []
        self.layer = GripChannelLayer(capacity=1000)

    def start(self) -> ServerProcess:
        command = [sys.executable, "-W", "error", "-m", "django", "runworker", "jobs", "more"]
        log = self._folder / f"{len(self.processes)}.log"
        self.processes.append(ServerProcess(command, log_file=log, cwd=ROOT, env=self._env))
        return self.processes[-1]

    def send(self, number: int, channel: str = "jobs", **others: Any) -> None:
        async_to_sync(self.layer.send)(channel, {"type": "job", "number": number, **others})

    def lines(self, what: str) -> list[tuple[int, int]]:
        """Number and process of each line."""
        found = [line.split() for line in self.file.read_text().splitlines()]
        return [(int(number), int(process)) for kind, number, process in found if kind == what]

    def wait(self, condition: Any) -> None:
        def report() -> str:
            return "\n".join([self.file.read_text(), *(process.log() for process in self.processes)])

        wait_until(condition, timeout=PATIENCE, message=report)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    prefix = uuid4().hex
    backend = "django.core.cache.backends.redis.RedisCache"
    entry = {"BACKEND": backend, "LOCATION": services.redis(), "KEY_PREFIX": prefix}
    with override_settings(CACHES={"default": entry}):
        found = Workers(tmp_path, prefix)
        try:
            yield found
        finally:
            for process in found.processes:
                process.stop(grace=0.5)


def test_workers_share_a_channel_and_one_that_is_told_to_stop_finishes_what_it_has(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    for number in range(10):
        workers.send(number, seconds=0.1)
    workers.wait(lambda: {process for _, process in workers.lines("begin")} == {first.pid, second.pid})
    workers.send(-1, channel="more")
    workers.wait(lambda: workers.lines("begin")[-1][0] >= 0 and "a bad number" in first.log() + second.log())
    workers.send(100, seconds=1.5)
    workers.wait(lambda: 100 in dict(workers.lines("begin")))
    busy = dict(workers.lines("begin"))[100]
    stopped, other = (first, second) if first.pid == busy else (second, first)
    os.kill(stopped.pid, signal.SIGTERM)
    for number in range(20, 40):
        workers.send(number)
    workers.wait(lambda: len(workers.lines("end")) == 31)
    assert stopped.wait(timeout=PATIENCE) == 0
    os.kill(other.pid, signal.SIGTERM)
    assert other.wait(timeout=PATIENCE) == 0
    workers.send(50)
    workers.start()
    workers.wait(lambda: 50 in dict(workers.lines("end")))
    expected = dict.fromkeys([*range(10), *range(20, 40), 50, 100], 1)
    assert Counter(number for number, _ in workers.lines("end")) == expected
    assert Counter(number for number, _ in workers.lines("begin")) == {**expected, -1: 1}
    assert dict(workers.lines("end"))[100] == busy
