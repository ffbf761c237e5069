"""Run in a process of its own: forks several that append to one log and several that read it, and prints what was read.

The argument is JSON: `cache` or `database` (an entry of CACHES or DATABASES), `alias`, `prefix`, and how many
`writers` and `readers` there are and how much each writes (`count`). It prints `seen`, for each reader a list of
positions and entries, and `last`, the position of what the parent appends in the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings

PATIENCE = 60.0


def main(instructions: dict[str, Any]) -> None:
    alias = instructions["alias"]
    settings.configure(
        CACHES={alias: instructions["cache"]} if instructions["cache"] else {},
        DATABASES={alias: instructions["database"], "default": {}} if instructions["database"] else {},
        GRIP_MAILBOX="cache" if instructions["cache"] else "database",
        GRIP_MAILBOX_ALIAS=alias,
        GRIP_PREFIX=instructions["prefix"],
        SECRET_KEY="a secret",
        USE_TZ=True,
    )
    django.setup()
    from grip_consumers import mailbox

    # So that there are connections, which the children must leave alone.
    cursor = mailbox.get().append("log", b"the parent's", expiry=PATIENCE)
    writers, readers, count = (instructions[name] for name in ("writers", "readers", "count"))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}" for number in range(readers)]
        children = [fork(lambda file=file: read(file, cursor, writers * count)) for file in files]  # type: ignore[misc]
        children += [fork(lambda writer=writer: write(writer, count)) for writer in range(writers)]  # type: ignore[misc]
        failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
        seen = [json.loads(file.read_text()) for file in files] if not failed else []
    last = mailbox.get().append("log", b"the parent's", expiry=PATIENCE)
    print(json.dumps({"seen": seen, "last": last}))
    if failed:
        raise SystemExit(f"{len(failed)} of the processes failed.")


def fork(work: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    # Whoever waits for it waits no longer than this.
    signal.alarm(round(1.5 * PATIENCE))
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def write(writer: int, count: int) -> None:
    from grip_consumers import mailbox

    for number in range(count):
        mailbox.get().append("log", b"%d:%d" % (writer, number), expiry=PATIENCE)


def read(file: Path, cursor: int, expected: int) -> None:
    from grip_consumers import mailbox

    seen: list[tuple[int, str]] = []
    deadline = time.monotonic() + PATIENCE
    while len(seen) < expected and time.monotonic() < deadline:
        for position, entry in mailbox.get().read({"log": cursor}).get("log", []):
            seen.append((position, entry.decode()))
            cursor = position
        time.sleep(0.001)
    file.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
