"""Run a fuzz target for as long as wanted: `python -m tests.fuzz.test_fuzz_events 60`.

Each target is a function of bytes that returns when its invariant holds and raises when not. Under pytest it
runs a bounded number of Hypothesis examples; from the command line, on mutations of its seeds for the given
seconds, or on files that are named instead.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def mutate(random_: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Cut, join, repeat and flip pieces of `seeds`."""
    data = bytearray(random_.choice(seeds))
    for _ in range(random_.randint(0, 6)):
        place = random_.randint(0, len(data))
        other = random_.choice(seeds)
        match random_.randrange(4):
            case 0:
                data[place : place + random_.randint(0, 4)] = b""
            case 1:
                data[place:place] = random_.randbytes(random_.randint(1, 4))
            case 2:
                data[place:] = other[random_.randint(0, len(other)) :]
            case _:
                data[place:place] = other
    return bytes(data)


def main(target: Callable[[bytes], None], seeds: Sequence[bytes], arguments: Sequence[str]) -> None:
    """Run `target` on the files named in `arguments`, or for the seconds that stand there (10)."""
    if arguments and not arguments[0].isdigit():
        for name in arguments:
            target(Path(name).read_bytes())
        return
    seed = time.time_ns()
    random_, count = random.Random(seed), 0
    deadline = time.monotonic() + int(arguments[0] if arguments else 10)
    while time.monotonic() < deadline:
        data = mutate(random_, seeds)
        try:
            target(data)
        except BaseException:
            sys.stderr.write(f"seed {seed}, input {count}: {data!r}\n")
            raise
        count += 1
    sys.stdout.write(f"{count} inputs, seed {seed}: the invariant held\n")
