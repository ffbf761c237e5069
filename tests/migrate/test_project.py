"""What several files have to know of each other, and the migration of one file by all planners."""

from __future__ import annotations

import pytest

from grip_consumers.migrate.apps import Known
from grip_consumers.migrate.project import Facts, concerns, facts, migrate
from grip_consumers.migrate.source import Source

from .sources import alone


@pytest.mark.parametrize(
    ("text", "concerned"),
    [
        ("import channels", True),
        ("from channels_redis import x", True),
        ('INSTALLED_APPS = ["daphne"]', True),
        ("MIDDLEWARE = []", True),
        ("class ChatConsumer(Base): ...", True),
        ("import json", False),
        ("channel = 1", False),
    ],
)
def test_which_files_are_looked_at(text: str, *, concerned: bool) -> None:
    assert concerns(text) is concerned


def test_facts_are_gathered_from_all_files() -> None:
    texts = ['INSTALLED_APPS = ["channels"]', "import grip_consumers.as_channels", 'channel_layer_alias = "live"']
    sources = [Source(text, f"{number}.py") for number, text in enumerate(texts)]
    expected = Facts(
        uses_channels=True,
        as_channels=True,
        aliases=frozenset({"default", "live"}),
        local=frozenset({"mine"}),
        shared=frozenset(),
        apps=Known(has_app=True, parts=frozenset({"INSTALLED_APPS"})),
    )
    assert facts(sources, frozenset({"mine"})) == expected


def test_a_project_without_channels_has_no_facts() -> None:
    assert facts([Source("MIDDLEWARE = []", "settings.py")]) == Facts(
        uses_channels=False,
        as_channels=False,
        aliases=frozenset({"default"}),
        local=frozenset(),
        shared=frozenset(),
        apps=Known(parts=frozenset({"INSTALLED_APPS"})),
    )


def test_all_planners_have_their_turn_on_one_file() -> None:
    text = (
        'import channels.layers\nINSTALLED_APPS = ["channels"]\nMIDDLEWARE = ["a.B"]\n'
        'patch("channels.db")\nCHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}\n'
    )
    after, notes = migrate(*alone(text))
    assert after == (
        'import grip_consumers.layers\nINSTALLED_APPS = ["grip_consumers"]\n'
        'MIDDLEWARE = ["grip_consumers.GripMiddleware", "a.B"]\npatch("grip_consumers.db")\n'
        'CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}\n'
    )
    assert notes == []


def test_migrations_are_touched_only_if_they_import_channels() -> None:
    path = "app/migrations/0001_initial.py"
    text = 'x = "channels.layers.get_channel_layer"\n'
    assert migrate(*alone(text, path))[0] == text
    assert migrate(*alone(f"import channels\n{text}", path))[0] == (
        'import grip_consumers\nx = "grip_consumers.layers.get_channel_layer"\n'
    )
