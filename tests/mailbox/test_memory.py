from __future__ import annotations

import subprocess
import sys

import pytest

from grip_consumers.mailbox.memory import MemoryMailbox
from tests.servers import ROOT, environment

from .conftest import Clock


def test_it_says_that_it_never_waits() -> None:
    assert MemoryMailbox.blocking is False


def test_what_has_expired_takes_no_room_for_long() -> None:
    clock = Clock()
    mailbox = MemoryMailbox(clock=clock)
    for number in range(100):
        mailbox.append(f"{number}", b"x", expiry=1)
        mailbox.raise_flag(f"{number}", expiry=1)
        mailbox.acknowledge(f"{number}", 1, expiry=1)
    clock.moved += 20
    mailbox.append("log", b"x", expiry=1)
    assert (set(mailbox._logs), mailbox._flags, mailbox._acknowledged) == ({"log"}, {}, {})


@pytest.mark.parametrize("moved", [20, -1_000])
def test_positions_grow_though_the_log_was_forgotten_and_the_clock_set_back(moved: int) -> None:
    clock = Clock()
    mailbox = MemoryMailbox(clock=clock)
    position = mailbox.append("log", b"x", expiry=1)
    clock.moved += 20
    mailbox.append("other", b"x", expiry=1)
    assert "log" not in mailbox._logs
    clock.moved += moved - 20
    assert mailbox.append("log", b"x", expiry=1) > position


def test_a_child_process_is_not_stopped_by_a_lock_that_its_parent_held() -> None:
    code = (
        "import os, signal\n"
        "from grip_consumers.mailbox.memory import MemoryMailbox\n"
        "mailbox = MemoryMailbox()\n"
        "with mailbox._mine():\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        signal.alarm(10)\n"
        "        mailbox.append('log', b'x', expiry=5)\n"
        "        os._exit(0)\n"
        "print(os.waitpid(pid, 0)[1], mailbox.look(['log'])[0])\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT, env=environment({})
    )
    assert run.stdout.strip() == "0 {'log': 0}", run.stderr
