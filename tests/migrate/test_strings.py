"""Dotted paths in strings, and what merely looks like one."""

from __future__ import annotations

import pytest

from grip_consumers.migrate import strings

from .sources import planned

MOVED = {
    "x = 'channels.layers.InMemoryChannelLayer'": "x = 'grip_consumers.layers.InMemoryChannelLayer'",
    'x = r"""channels.db.database_sync_to_async"""': 'x = r"""grip_consumers.db.database_sync_to_async"""',
    "patch('channels.layers.get_channel_layer')": "patch('grip_consumers.layers.get_channel_layer')",
    "@mock.patch('channels.db')\ndef f(): ...": "@mock.patch('grip_consumers.db')\ndef f(): ...",
    "mocker.patch('channels.layers.channel_layers.set')": "mocker.patch('grip_consumers.layers.channel_layers.set')",
    "monkeypatch.setattr('channels.db', 1)": "monkeypatch.setattr('grip_consumers.db', 1)",
    "importlib.import_module('channels')": "importlib.import_module('grip_consumers')",
    "pytest.importorskip('channels')": "pytest.importorskip('grip_consumers')",
    "apps.is_installed('channels')": "apps.is_installed('grip_consumers')",
    "apps.get_app_config('channels')": "apps.get_app_config('grip_consumers')",
    "import_module('.layers', 'channels')": "import_module('.layers', 'grip_consumers')",
    "import_module('.layers', package='channels')": "import_module('.layers', package='grip_consumers')",
    "import_module(name='channels.db')": "import_module(name='grip_consumers.db')",
    "'channels' in settings.INSTALLED_APPS": "'grip_consumers' in settings.INSTALLED_APPS",
    "'channels.db' in sys.modules": "'grip_consumers.db' in sys.modules",
    "sys.modules['channels.db']": "sys.modules['grip_consumers.db']",
    "patch.dict(sys.modules, {'channels': None})": "patch.dict(sys.modules, {'grip_consumers': None})",
    "patch.dict('sys.modules', {'channels.db': x})": "patch.dict('sys.modules', {'grip_consumers.db': x})",
}

LOOK_ALIKES = [
    "x = 'channels'",
    "x = ['channels', 'daphne']",
    "x = {'type': 'channels.message'}",
    "x = {'channels': 1, 'daphne': 2}",
    "x = 'channels.list'",
    "x = 'channels.layers.Nothing'",
    "x = 'channels.layers_of_cake'",
    "x = 'my.channels.layers.get_channel_layer'",
    "x = 'channels:layers'",
    "x = 'channels/layers.py'",
    "x = ' channels.layers.get_channel_layer'",
    "x = 'see channels.layers.get_channel_layer'",
    "x = b'channels.layers.get_channel_layer'",
    "x = f'channels.layers.{y}'",
    "'''channels.layers.get_channel_layer is a function'''",
    "patch('my.channels.layers.get_channel_layer')",
    "setattr('channels', 1)",
    "'channels' in MENU",
    "LOGGING['loggers']['channels']",
    "patch.dict(colours, {'channels': None})",
    "f(x, 'channels.layers.x')",
    "patch(x, 'channels')",
    "x = 'channels.' + y",
    "x('channels.{}'.format(y))",
    "f(version='channels')",
]


@pytest.mark.parametrize("text", MOVED)
def test_a_path_is_moved(text: str) -> None:
    assert planned(text, strings.plan) == (MOVED[text], [])


@pytest.mark.parametrize("text", [*LOOK_ALIKES, *MOVED.values()])
def test_what_looks_alike_stays_without_a_word(text: str) -> None:
    assert planned(text, strings.plan) == (text, [])


NOTED = {
    "x = 'channels.layers'": ("dotted-string", "nothing here says whether it is imported"),
    "patch('channels.nothing.x')": ("no-counterpart", "Channels 4.3 has no"),
    "x = import_string('channels.layers' '.get_channel_layer')": ("by-hand", "in pieces"),
    "import_module(f'channels.{x}')": ("by-hand", "when the program runs"),
    "import_module('channels.' + x + '.y')": ("by-hand", "when the program runs"),
    "import_module('channels.%s' % x)": ("by-hand", "when the program runs"),
    "import_module('channels.{}'.format(x))": ("by-hand", "when the program runs"),
    "importlib.metadata.version('channels')": ("no-counterpart", "grip-consumers"),
    "pkg_resources.get_distribution('channels')": ("no-counterpart", "grip-consumers"),
}


@pytest.mark.parametrize("text", NOTED)
def test_what_cannot_be_decided_stays_and_is_noted(text: str) -> None:
    kind, words = NOTED[text]
    after, (note,) = planned(text, strings.plan)
    assert (after, note.kind) == (text, kind)
    assert words in note.text


def test_a_patched_name_that_is_not_there_is_moved_and_noted() -> None:
    after, (note,) = planned("patch('channels.layers.Nothing')", strings.plan)
    assert (after, note.kind) == ("patch('grip_consumers.layers.Nothing')", "no-counterpart")
