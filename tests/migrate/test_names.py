"""Modules and names of Channels, and what stands for them."""

from __future__ import annotations

import importlib.util
import pkgutil

import pytest

from grip_consumers.migrate import names


def test_the_modules_are_those_of_channels() -> None:
    spec = importlib.util.find_spec("channels")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    found = {module.name for module in pkgutil.walk_packages(spec.submodule_search_locations, "channels.")}
    assert {"channels", *found} == names.MODULES


@pytest.mark.parametrize("module", sorted(names.MODULES))
def test_every_module_of_channels_has_a_counterpart(module: str) -> None:
    assert names._file(names.counterpart(module)) is not None


@pytest.mark.parametrize(
    ("dotted", "module"),
    [
        ("channels", "channels"),
        ("channels.layers", "channels.layers"),
        ("channels.layers.InMemoryChannelLayer.send", "channels.layers"),
        ("channels.security", "channels.security"),
        ("channels.list", "channels"),
        ("channelsx.layers", ""),
        ("my.channels.layers", ""),
    ],
)
def test_the_longest_module_counts(dotted: str, module: str) -> None:
    assert names.module_of(dotted) == module


@pytest.mark.parametrize(
    ("module", "name", "there"),
    [
        ("channels", "DEFAULT_CHANNEL_LAYER", True),
        ("channels", "layers", True),
        ("channels", "Group", False),
        ("channels.layers", "get_channel_layer", True),
        ("channels.layers", "channel_layers", True),
        ("channels.layers", "Nothing", False),
        ("channels.routing", "URLRouter", True),
        ("channels.generic.websocket", "WebsocketConsumer", True),
    ],
)
def test_names_are_looked_up_in_this_package(module: str, name: str, *, there: bool) -> None:
    assert names.has_name(module, name) is there
