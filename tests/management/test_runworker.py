from __future__ import annotations

from typing import Any

import pytest
from channels.management.commands.runworker import Command as Reference
from django.core.management import CommandError, call_command
from django.test import override_settings

from grip_consumers.layers import InMemoryChannelLayer, get_channel_layer
from grip_consumers.management.commands.runworker import Command

IN_MEMORY = {"BACKEND": "grip_consumers.layers.InMemoryChannelLayer"}
application = object()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The workers that the command has run, as they were made."""
    found: list[dict[str, Any]] = []

    class Fake:
        def __init__(self, **keywords: Any) -> None:
            self.keywords = keywords

        def run(self) -> None:
            found.append(self.keywords)

    monkeypatch.setattr(Command, "worker_class", Fake)
    return found


@override_settings(
    CHANNEL_LAYERS={"default": IN_MEMORY, "other": IN_MEMORY}, ASGI_APPLICATION=f"{__name__}.application"
)
@pytest.mark.parametrize(("options", "alias"), [([], "default"), (["--layer", "other"], "other")])
def test_the_channels_of_a_layer_are_served_by_the_application(
    made: list[dict[str, Any]], options: list[str], alias: str
) -> None:
    call_command(Command(), "one", "two", *options)
    layer = get_channel_layer(alias)
    assert isinstance(layer, InMemoryChannelLayer)
    assert made == [{"application": application, "channels": ["one", "two"], "channel_layer": layer}]


@override_settings(CHANNEL_LAYERS={})
@pytest.mark.parametrize("command", [Reference, Command], ids=["channels", "grip"])
def test_without_a_layer_there_is_no_worker(command: Any) -> None:
    with pytest.raises(CommandError, match=r"^You do not have any CHANNEL_LAYERS configured\.$"):
        call_command(command(), "one")


def test_a_mailbox_that_no_other_process_reaches_is_refused(made: list[dict[str, Any]]) -> None:
    with pytest.raises(CommandError, match="Set GRIP_MAILBOX"):
        call_command(Command(), "one")
    assert made == []
