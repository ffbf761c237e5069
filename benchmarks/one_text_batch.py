"""CPU time of one batch with one TEXT event, in process: this project beside django-grip and Channels.

    python benchmarks/one_text_batch.py [--rounds 15] [--batches 2000]

Each contender runs in a process of its own, with the settings that its documentation asks for, and answers the same
echo. The processes take turns, round by round, so that a change in the machine's speed meets all of them; what is
printed is each one's median over the rounds and its ratio to django-grip within a round.

A batch here is what the framework does with it: no sockets, no HTTP parsing. Channels is given its one message by
an asyncio queue in place of the server's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

from contenders import CONTENDERS

BASELINE = "django-grip, WSGI view"


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of one batch with one TEXT event")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=2_000, help="batches of each contender in a round")
    arguments = parser.parse_args()
    workers = {name: start(name) for name in CONTENDERS}
    try:
        for worker in workers.values():
            measure(worker, arguments.batches)
        rounds = [
            {name: measure(worker, arguments.batches) for name, worker in workers.items()}
            for _ in range(arguments.rounds)
        ]
    finally:
        for worker in workers.values():
            worker.communicate()
    report(rounds)


def start(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__.replace("one_text_batch", "contenders"), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def measure(worker: subprocess.Popen[str], batches: int) -> float:
    """CPU microseconds per batch of one round in that worker."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{batches}\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline()))


def report(rounds: Sequence[dict[str, float]]) -> None:
    print(f"{'':34}{'µs, median':>12}{'min':>8}{'max':>8}{'/ django-grip':>16}")
    for name in CONTENDERS:
        times = [measured[name] for measured in rounds]
        ratio = statistics.median(measured[name] / measured[BASELINE] for measured in rounds)
        print(f"{name:34}{statistics.median(times):12.1f}{min(times):8.1f}{max(times):8.1f}{ratio:16.2f}")


if __name__ == "__main__":
    main()
