"""CHANNEL_LAYERS that is changed bit by bit."""

from __future__ import annotations

import pytest

from grip_consumers.migrate import layers

from .sources import planned

REDIS = '"channels_redis.core.RedisChannelLayer"'
GRIP = '"grip_consumers.layers.GripChannelLayer"'


def migrated(text: str) -> tuple[str, list[str]]:
    after, notes = planned(text, lambda source: layers.plan(source, frozenset({"default"})), "site/settings.py")
    return after, [note.kind for note in notes]


CHANGED = [
    'CHANNEL_LAYERS["default"] = {{"BACKEND": {}}}',
    'base.CHANNEL_LAYERS["default"] = {{"BACKEND": {}}}',
    'CHANNEL_LAYERS["default"]["BACKEND"] = {}',
    'CHANNEL_LAYERS.update({{"default": {{"BACKEND": {}}}}})',
    'CHANNEL_LAYERS.update(default={{"BACKEND": {}}})',
    'CHANNEL_LAYERS.setdefault("default", {{"BACKEND": {}}})',
]


@pytest.mark.parametrize("text", CHANGED)
def test_the_layer_is_replaced_wherever_it_is_set(text: str) -> None:
    assert migrated(text.format(REDIS)) == (text.format(GRIP), [])
    assert migrated(text.format(GRIP)) == (text.format(GRIP), [])


@pytest.mark.parametrize(
    "text",
    [
        f'CHANNEL_LAYERS["jobs"] = {{"BACKEND": {REDIS}}}',
        f'CHANNEL_LAYERS["jobs"]["BACKEND"] = {REDIS}',
        f"CHANNEL_LAYERS.update(jobs={{'BACKEND': {REDIS}}})",
        f'LAYERS["default"]["BACKEND"] = {REDIS}',
        'CHANNEL_LAYERS["default"]["CONFIG"] = {"expiry": 5}',
        'CHANNEL_LAYERS["default"]["CONFIG"]["capacity"] = 5',
        'x = CHANNEL_LAYERS["default"]["BACKEND"]',
    ],
)
def test_what_is_right_or_of_others_stays(text: str) -> None:
    assert migrated(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        'CHANNEL_LAYERS["default"] = layer()',
        "CHANNEL_LAYERS[alias] = layer()",
        'CHANNEL_LAYERS["default"]["BACKEND"] = env("LAYER")',
        'CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": [1]}',
        'CHANNEL_LAYERS["default"]["CONFIG"]["hosts"] = [1]',
        "CHANNEL_LAYERS.update(more)",
        "CHANNEL_LAYERS.update(default=layer())",
    ],
)
def test_what_cannot_be_changed_is_noted(text: str) -> None:
    assert migrated(text) == (text, ["by-hand"])


def test_an_option_that_is_dropped_is_named() -> None:
    text = f'CHANNEL_LAYERS["default"] = {{"BACKEND": {REDIS}, "CONFIG": {{"hosts": [1]}}}}'
    assert migrated(text) == (f'CHANNEL_LAYERS["default"] = {{"BACKEND": {GRIP}}}', ["layer-option"])
