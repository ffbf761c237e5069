from __future__ import annotations

import subprocess
import sys
import threading
from itertools import count

from grip_consumers.mailbox.per_thread import PerThread
from tests.servers import ROOT, environment


def test_each_thread_has_one_of_its_own_which_is_closed_when_it_ends() -> None:
    numbers, closed = count(), list[int]()
    own = PerThread(lambda: next(numbers), closed.append)
    seen = [own.get(), own.get()]

    thread = threading.Thread(target=lambda own=own: seen.extend([own.get(), own.get()]))
    thread.start()
    thread.join(timeout=10)
    assert (seen, closed) == ([0, 0, 1, 1], [1])
    del own
    assert closed == [1, 0]


def test_what_is_dropped_is_closed_and_made_anew() -> None:
    numbers, closed = count(), list[int]()
    own = PerThread(lambda: next(numbers), closed.append)
    own.drop()
    assert own.get() == 0
    own.drop()
    assert (own.get(), closed) == (1, [0])


def test_a_failure_to_close_disturbs_nobody() -> None:
    def fail(held: object) -> None:
        raise OSError("gone already")

    own = PerThread(object, fail)
    own.get()
    own.drop()


def test_a_child_process_makes_its_own_and_leaves_its_parents_open() -> None:
    code = (
        "import os\n"
        "from grip_consumers.mailbox.per_thread import PerThread\n"
        "own = PerThread(os.getpid, lambda held: print('closed', held == os.getpid(), flush=True))\n"
        "assert own.get() == os.getpid()\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    assert own.get() == os.getpid()\n"
        "    own.drop()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "own.drop()\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT, env=environment({})
    )
    # Once by the child, which closes what it made, and once by the parent.
    assert (run.returncode, run.stdout.split("\n")) == (0, ["closed True", "closed True", ""]), run.stderr


def test_nothing_is_said_when_the_process_ends() -> None:
    code = (
        "from grip_consumers import mailbox\n"
        "from grip_consumers.mailbox.per_thread import PerThread\n"
        "mailbox.kept = PerThread(object, lambda held: None)\n"
        "mailbox.kept.get()\n"
    )
    command = [sys.executable, "-m", "django", "shell", "--verbosity", "0", "--command", code]
    env = environment({"DJANGO_SETTINGS_MODULE": "tests.settings"})
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT, env=env)
    assert (run.returncode, run.stderr) == (0, "")
