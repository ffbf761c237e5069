"""Two channels: one whose handler takes a while, one whose handler fails."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from grip_consumers.routing import ChannelNameRouter, ProtocolTypeRouter

from grip_consumers.consumer import AsyncConsumer


class Job(AsyncConsumer):
    async def job(self, message: Any) -> None:
        write(f"begin {message['number']} {os.getpid()}")
        if message["number"] < 0:
            raise ValueError("a bad number")
        await asyncio.sleep(message.get("seconds", 0.01))
        write(f"end {message['number']} {os.getpid()}")


def write(line: str) -> None:
    with Path(os.environ["WORKER_FILE"]).open("a") as file:
        file.write(f"{line}\n")


application = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": Job.as_asgi(), "more": Job.as_asgi()})})
