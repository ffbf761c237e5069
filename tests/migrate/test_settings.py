"""INSTALLED_APPS, MIDDLEWARE and CHANNEL_LAYERS in the ways that projects write them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grip_consumers.migrate import settings
from grip_consumers.migrate.apps import Known

from .sources import alone, planned

GRIP = '"BACKEND": "grip_consumers.layers.GripChannelLayer"'
REDIS = '"BACKEND": "channels_redis.core.RedisChannelLayer"'
MEMORY = '"BACKEND": "channels.layers.InMemoryChannelLayer"'

APPS = {
    'INSTALLED_APPS = ["channels", "a"]': 'INSTALLED_APPS = ["grip_consumers", "a"]',
    "INSTALLED_APPS = ('a', 'channels')": "INSTALLED_APPS = ('a', 'grip_consumers')",
    'INSTALLED_APPS = ["daphne", "a"]': 'INSTALLED_APPS = ["grip_consumers", "a"]',
    'INSTALLED_APPS = ["daphne", "a", "channels"]': 'INSTALLED_APPS = ["grip_consumers", "a"]',
    'INSTALLED_APPS = ["channels", "daphne", "a"]': 'INSTALLED_APPS = ["grip_consumers", "a"]',
    'INSTALLED_APPS = ["grip_consumers", "channels"]': 'INSTALLED_APPS = ["grip_consumers"]',
    'INSTALLED_APPS = ["channels.apps.ChannelsConfig"]': 'INSTALLED_APPS = ["grip_consumers"]',
    'INSTALLED_APPS: list[str] = ["channels"]': 'INSTALLED_APPS: list[str] = ["grip_consumers"]',
    'INSTALLED_APPS += ["channels"]': 'INSTALLED_APPS += ["grip_consumers"]',
    'INSTALLED_APPS = A + ["channels"] if D else B': 'INSTALLED_APPS = A + ["grip_consumers"] if D else B',
    'INSTALLED_APPS = tuple(["channels"])': 'INSTALLED_APPS = tuple(["grip_consumers"])',
    'INSTALLED_APPS.append("channels")': 'INSTALLED_APPS.append("grip_consumers")',
    'INSTALLED_APPS.extend(["channels"])': 'INSTALLED_APPS.extend(["grip_consumers"])',
    'INSTALLED_APPS.insert(0, "daphne")': 'INSTALLED_APPS.insert(0, "grip_consumers")',
    'INSTALLED_APPS = ["channels"]\nif D:\n    INSTALLED_APPS.insert(0, "daphne")\nx = 1': (
        'INSTALLED_APPS = ["grip_consumers"]\nif D:\n    pass\nx = 1'
    ),
    'INSTALLED_APPS = ["channels"]\nINSTALLED_APPS = ["daphne", *INSTALLED_APPS]': (
        'INSTALLED_APPS = ["grip_consumers"]\nINSTALLED_APPS = [*INSTALLED_APPS]'
    ),
    'THIRD_PARTY_APPS = ["channels"]': 'THIRD_PARTY_APPS = ["grip_consumers"]',
    'mine = ["django.contrib.auth", "channels"]': 'mine = ["django.contrib.auth", "grip_consumers"]',
    'settings.configure(INSTALLED_APPS=["channels"])': 'settings.configure(INSTALLED_APPS=["grip_consumers"])',
    'SETTINGS = {"INSTALLED_APPS": ["channels"]}': 'SETTINGS = {"INSTALLED_APPS": ["grip_consumers"]}',
    'class A(C):\n    INSTALLED_APPS = ["channels"]': 'class A(C):\n    INSTALLED_APPS = ["grip_consumers"]',
    'INSTALLED_APPS = ["django.contrib.staticfiles", "channels", "a"]': (
        'INSTALLED_APPS = ["grip_consumers", "django.contrib.staticfiles", "a"]'
    ),
    'INSTALLED_APPS = [\n    "a",\n    "daphne",\n    # files\n    "django.contrib.staticfiles",\n    "channels",\n]': (
        'INSTALLED_APPS = [\n    "a",\n    "grip_consumers",\n    # files\n    "django.contrib.staticfiles",\n]'
    ),
}

LAYERS = {
    f"{{'default': {{{REDIS}}}}}": f"{{'default': {{{GRIP}}}}}",
    f"{{'default': {{{MEMORY}}}}}": f"{{'default': {{{GRIP}}}}}",
    f'{{"default": {{{REDIS}, "CONFIG": {{"hosts": [1]}}}}}}': f'{{"default": {{{GRIP}}}}}',
    f'{{"default": {{{REDIS}, "CONFIG": {{"hosts": [1], "expiry": 5}}}}}}': (
        f'{{"default": {{{GRIP}, "CONFIG": {{"expiry": 5}}}}}}'
    ),
    f'{{"default": {{{REDIS}, "TEST_CONFIG": {{"hosts": [1]}}}}}}': f'{{"default": {{{GRIP}}}}}',
    f'{{"other": {{{REDIS}}}}}': f'{{"other": {{{REDIS}}}}}',
    f'{{"default": {{{REDIS}, "CONFIG": config}}}}': f'{{"default": {{{GRIP}, "CONFIG": config}}}}',
    f'{{"default": {{{REDIS}, "CONFIG": {{**config}}}}}}': f'{{"default": {{{GRIP}, "CONFIG": {{**config}}}}}}',
    '{"default": {"BACKEND": "my.Layer"}}': '{"default": {"BACKEND": "my.Layer"}}',
    '{"default": {"BACKEND": a if b else c}}': '{"default": {"BACKEND": a if b else c}}',
    '{"default": layer()}': '{"default": layer()}',
    'dict(default=dict(BACKEND="x"))': 'dict(default=dict(BACKEND="x"))',
}

#: What of the above cannot be done, and has to be said.
BY_HAND = [
    f'{{"default": {{{REDIS}, "CONFIG": config}}}}',
    f'{{"default": {{{REDIS}, "CONFIG": {{**config}}}}}}',
    '{"default": {"BACKEND": "my.Layer"}}',
    '{"default": {"BACKEND": a if b else c}}',
    '{"default": layer()}',
    'dict(default=dict(BACKEND="x"))',
]


def migrated(
    text: str, path: str = "site/settings.py", *, apps: dict[str, object] | None = None, **changes: object
) -> tuple[str, list[str]]:
    source, known = alone(text, path, **changes)
    settings.plan(source, replace(known.apps, **apps or {}), uses_channels=known.uses_channels, aliases=known.aliases)
    return source.changed_text(), [note.kind for note in sorted(source.notes)]


@pytest.mark.parametrize("text", APPS)
def test_the_app_is_replaced(text: str) -> None:
    assert migrated(text)[0] == APPS[text]


@pytest.mark.parametrize("text", APPS.values())
def test_an_app_in_its_place_stays(text: str) -> None:
    assert migrated(text) == (text, [])


@pytest.mark.parametrize(
    "text", ['x = ["channels"]', 'TV_CHANNELS = ["channels", "daphne"]', 'APPS_MENU = ["channels"]', 'f("channels")']
)
def test_other_lists_stay(text: str) -> None:
    assert migrated(text) == (text, [])


def test_it_is_said_that_daphne_goes() -> None:
    assert migrated('INSTALLED_APPS = ["daphne", "channels"]')[1] == ["daphne"]


def test_daphne_goes_where_another_file_has_channels() -> None:
    assert migrated('INSTALLED_APPS = ["daphne", *BASE]', apps={"has_app": True})[0] == "INSTALLED_APPS = [*BASE]"


MIDDLEWARES = {
    'MIDDLEWARE = ["a.B"]': 'MIDDLEWARE = ["grip_consumers.GripMiddleware", "a.B"]',
    "MIDDLEWARE: list = ('a.B',)": "MIDDLEWARE: list = ('grip_consumers.GripMiddleware', 'a.B',)",
    'MIDDLEWARE = ["a.B"] + MORE': 'MIDDLEWARE = ["grip_consumers.GripMiddleware", "a.B"] + MORE',
    "MIDDLEWARE = []": 'MIDDLEWARE = ["grip_consumers.GripMiddleware"]',
    'MIDDLEWARE = [*MIDDLEWARE, "a.B"]': 'MIDDLEWARE = [*MIDDLEWARE, "a.B"]',
    'MIDDLEWARE = base.MIDDLEWARE + ["a.B"]': 'MIDDLEWARE = base.MIDDLEWARE + ["a.B"]',
    'MIDDLEWARE.insert(1, "a.B")': 'MIDDLEWARE.insert(1, "a.B")',
    'MIDDLEWARE.append("a.B")': 'MIDDLEWARE.append("a.B")',
    'MIDDLEWARE += ["a.B"]': 'MIDDLEWARE += ["a.B"]',
    'if D:\n    MIDDLEWARE = ["a.B"]': 'if D:\n    MIDDLEWARE = ["grip_consumers.GripMiddleware", "a.B"]',
}


@pytest.mark.parametrize("text", MIDDLEWARES)
def test_the_middleware_comes_first(text: str) -> None:
    assert migrated(text, uses_channels=True) == (MIDDLEWARES[text], [])


@pytest.mark.parametrize("text", MIDDLEWARES.values())
def test_middleware_in_its_place_stays(text: str) -> None:
    assert migrated(text, uses_channels=True) == (text, [])


def test_a_project_without_consumers_keeps_its_middleware() -> None:
    assert migrated('MIDDLEWARE = ["a.B"]') == ('MIDDLEWARE = ["a.B"]', [])


def test_middleware_that_is_not_that_of_settings_stays() -> None:
    assert migrated('MIDDLEWARE = ["a.B"]', "shop/soap.py", uses_channels=True)[0] == 'MIDDLEWARE = ["a.B"]'


@pytest.mark.parametrize("value", ["list(COMMON)", '["a.B", "grip_consumers.GripMiddleware"]'])
def test_middleware_that_cannot_be_changed_is_noted(value: str) -> None:
    assert migrated(f"MIDDLEWARE = {value}", uses_channels=True) == (f"MIDDLEWARE = {value}", ["by-hand"])


@pytest.mark.parametrize("value", LAYERS)
def test_the_layer_of_consumers_is_replaced(value: str) -> None:
    after, notes = migrated(f"CHANNEL_LAYERS = {value}")
    assert after == f"CHANNEL_LAYERS = {LAYERS[value]}"
    assert ("by-hand" in notes) == (value in BY_HAND)


@pytest.mark.parametrize("value", [value for value in LAYERS.values() if GRIP in value])
def test_a_layer_in_its_place_stays(value: str) -> None:
    assert migrated(f"CHANNEL_LAYERS = {value}") == (f"CHANNEL_LAYERS = {value}", [])


@pytest.mark.parametrize("key", ["hosts", "prefix", "symmetric_encryption_keys"])
def test_each_option_that_is_dropped_is_named(key: str) -> None:
    text = f'CHANNEL_LAYERS = {{"default": {{{REDIS}, "CONFIG": {{"{key}": 1, "capacity": 1}}}}}}'
    after, notes = planned(
        text,
        lambda source: settings.plan(source, Known(), uses_channels=True, aliases=frozenset({"default"})),
    )
    assert '"CONFIG": {"capacity": 1}' in after
    assert [(note.kind, f"`{key}`" in note.text) for note in notes] == [("layer-option", True)]


def test_the_layer_that_a_consumer_names_is_replaced_too() -> None:
    text = f'class A:\n    channel_layer_alias = "live"\nCHANNEL_LAYERS = {{"live": {{{MEMORY}}}, "jobs": {{{REDIS}}}}}'
    assert migrated(text)[0] == text.replace(MEMORY, GRIP)


@pytest.mark.parametrize(
    ("path", "stays"),
    [
        ("site/settings/test.py", True),
        ("tests/settings.py", True),
        ("site/test_settings.py", True),
        ("conftest.py", True),
        ("site/settings/latest.py", False),
        ("contest/settings.py", False),
    ],
)
def test_tests_keep_their_layer_in_the_process(path: str, *, stays: bool) -> None:
    text = f'CHANNEL_LAYERS = {{"default": {{{MEMORY}}}}}'
    assert (migrated(text, path)[0] == text) is stays


@pytest.mark.parametrize(
    "text",
    [
        'MIDDLEWARE = ["a.B", *MIDDLEWARE]',
        'MIDDLEWARE = ["a.B"] + base.MIDDLEWARE',
        'MIDDLEWARE.insert(0, "a.B")',
        'settings.MIDDLEWARE.insert(0, f("a.B"))',
    ],
)
def test_middleware_that_comes_before_ours_is_noted(text: str) -> None:
    assert migrated(text, uses_channels=True) == (text, ["by-hand"])


@pytest.mark.parametrize(
    "text",
    [
        'MIDDLEWARE = ["grip_consumers.GripMiddleware", "a.B", *MIDDLEWARE]',
        'MIDDLEWARE.insert(0, "grip_consumers.GripMiddleware")',
    ],
)
def test_our_middleware_may_come_first_again(text: str) -> None:
    assert migrated(text, uses_channels=True) == (text, [])


def test_layers_are_found_in_configure_and_left_in_overrides() -> None:
    text = f'settings.configure(CHANNEL_LAYERS={{"default": {{{REDIS}}}}})'
    assert migrated(text)[0] == text.replace(REDIS, GRIP)
    override = f'override_settings(CHANNEL_LAYERS={{"default": {{{REDIS}}}}})'
    assert migrated(override)[0] == override
