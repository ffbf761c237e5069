"""The scripts: each one a behaviour that a client can observe, run against Channels and against the migrated site.

A script is an async function that takes a `Client`; its docstring is the claim. `shows` names records that the
transcript on Channels must hold, so that a script which stopped observing anything would be noticed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..client import Client, Record

Script = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True)
class Behaviour:
    """A script with what is known about it; `reference` is the server under Channels that it is compared with."""

    name: str
    script: Script
    shows: tuple[Record, ...]
    reference: str
    because: str


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(*shows: Record, reference: str = "uvicorn", because: str = "") -> Callable[[Script], Script]:
    """Register a script. Another reference than uvicorn needs a reason: how uvicorn differs, and why we do not."""
    if (reference != "uvicorn") != bool(because):
        raise ValueError("Give a reason exactly when the reference is not uvicorn.")

    def register(script: Script) -> Script:
        name = script.__name__
        if name in BEHAVIOURS:
            raise ValueError(f"There is already a behaviour named {name}.")
        BEHAVIOURS[name] = Behaviour(name, script, tuple(shows), reference, because)
        return script

    return register


def load() -> Sequence[Behaviour]:
    """All behaviours, in the order of the modules here."""
    from . import (  # noqa: F401
        closing,
        direct,
        errors,
        groups,
        handshake,
        identity,
        joining,
        messages,
        middleware,
        per_connection,
        state,
    )

    return list(BEHAVIOURS.values())
