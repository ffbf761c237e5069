"""Classes and functions whose values the tests keep: at the top level of a module, as those of a project are."""

from __future__ import annotations

import enum
import functools
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.contrib.sessions.backends.base import SessionBase
from django.db import models
from django.utils.functional import LazyObject

Pair = namedtuple("Pair", ["left", "right"])


class Position(NamedTuple):
    row: int
    column: int = 0


class Colour(enum.Enum):
    RED = 1
    GREEN = (2, "g")


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Status(models.TextChoices):
    OPEN = "open", "Open"
    DONE = "done", "Done"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    OWN = 4


class Mode(enum.IntFlag):
    A = 1
    B = 2


@dataclass
class Player:
    name: str
    hand: list[Any] = field(default_factory=list)
    opponent: Player | None = None

    @functools.cached_property
    def client(self) -> Any:
        return object()


@dataclass(frozen=True)
class Point:
    x: int
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Slim:
    value: Any
    other: Any = None


@dataclass
class Checked:
    count: int

    def __post_init__(self) -> None:
        self.count += 1


@dataclass
class Tagged(dict):  # type: ignore[type-arg]
    tag: str = ""


class Plain:
    """Neither a dataclass nor anything else that says what it is made of."""

    class Nested(enum.Enum):
        ONE = 1


def factory() -> list[Any]:
    return []


class LazyThing(LazyObject):  # type: ignore[type-arg]
    def _setup(self) -> None:
        self._wrapped = Point(1, 2)


class OwnSession(SessionBase):
    pass
