"""A process that sends numbered events to a group.

Its argument is JSON: the arguments of `send_numbers`. It prints "ready" when everything
is imported, waits for a line on its standard input, sends, and prints what it sent as JSON: [[number, when the call
began, when it returned], ...], in seconds of time.monotonic(), which is the same for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import django

from grip_consumers.layers import get_channel_layer


async def send_numbers(group: str, sender: str, count: int, until: str, interval: float = 0.0) -> list[list[float]]:
    """Send numbers from 1 to `count`, one each `interval` seconds at best, until there is a file `until`."""
    layer = get_channel_layer()
    sent: list[list[float]] = []
    due, end = time.monotonic(), Path(until)
    while len(sent) < count and not end.exists():
        await asyncio.sleep(due - time.monotonic())
        began = time.monotonic()
        number = len(sent) + 1
        event = {"type": "note", "group": group, "sender": sender, "number": number}
        await layer.group_send(group, event)
        sent.append([number, began, time.monotonic()])
        # Nothing is made up for: on a slow machine there are fewer.
        due = max(due + interval, time.monotonic())
    return sent


def main(arguments: str) -> None:
    django.setup()
    # The first call imports the routing: before it is said that all is ready.
    nobody = {"type": "note", "group": "", "sender": "", "number": 0}
    asyncio.run(get_channel_layer().group_send("nobody.listens", nobody))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(send_numbers(**json.loads(arguments)))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
