"""An object that keeps what all connections share, for consumers of other modules."""

from __future__ import annotations


class Lobby:
    def __init__(self) -> None:
        self.players: dict[str, str] = {}

    def enter(self, name: str) -> None:
        self.players[name] = "here"


lobby = Lobby()
