"""Imports of Channels in all their forms, and the uses of what they bind."""

from __future__ import annotations

from textwrap import dedent

import pytest

from grip_consumers.migrate import imports
from grip_consumers.migrate.source import Source

from .sources import planned

MOVED = {
    "from": ("from channels.layers import x_y", "from grip_consumers.layers import x_y"),
    "from the package": ("from channels import layers as l", "from grip_consumers import layers as l"),
    "star": ("from channels.layers import *", "from grip_consumers.layers import *"),
    "with an alias": ("import channels.layers as l, os", "import grip_consumers.layers as l, os"),
    "the package with an alias": ("import channels as c; c.layers", "import grip_consumers as c; c.layers"),
    "bound and used": (
        "import channels.layers\nchannels.layers.get_channel_layer()",
        "import grip_consumers.layers\ngrip_consumers.layers.get_channel_layer()",
    ),
    "used before it is imported": (
        "def f(): return channels.db\nimport channels.db",
        "def f(): return grip_consumers.db\nimport grip_consumers.db",
    ),
    "used in a quoted annotation": (
        'import channels\nx: "channels.layers.A | my.channels.B"',
        'import grip_consumers\nx: "grip_consumers.layers.A | my.channels.B"',
    ),
    "within a function": (
        "def f():\n    import channels\n    return lambda: channels\ndef g(): return channels",
        "def f():\n    import grip_consumers\n    return lambda: grip_consumers\ndef g(): return channels",
    ),
    "shadowed": (
        "import channels\ndef f(channels): return channels.layers\nclass A:\n    channels = 1\n    x = channels",
        "import grip_consumers\ndef f(channels): return channels.layers\nclass A:\n    channels = 1\n    x = channels",
    ),
    "shadowed where a module of it is imported": (
        "import channels.db\ndef f(channels): return channels.db\ndef g():\n    channels = 1\n    channels.db",
        "import grip_consumers.db\ndef f(channels): return channels.db\ndef g():\n    channels = 1\n    channels.db",
    ),
    "shadowed by a loop": (
        "import channels.db\ndef f():\n    for channels in z: channels.db()\nchannels.db",
        "import grip_consumers.db\ndef f():\n    for channels in z: channels.db()\ngrip_consumers.db",
    ),
    "shadowed in a comprehension": (
        "import channels.db\n[channels.db for channels in channels.db.z]",
        "import grip_consumers.db\n[channels.db for channels in grip_consumers.db.z]",
    ),
    "shadowed around": (
        "import channels.db\ndef f(channels):\n    return lambda: channels.db",
        "import grip_consumers.db\ndef f(channels):\n    return lambda: channels.db",
    ),
    "shadowed in the body of a class": (
        (
            "import channels.db\nclass A:\n    a = channels.db\n    channels = channels.db\n    b = channels.db\n"
            "    def f(self): return channels.db"
        ),
        (
            "import grip_consumers.db\nclass A:\n    a = grip_consumers.db\n    channels = grip_consumers.db\n"
            "    b = channels.db\n    def f(self): return grip_consumers.db"
        ),
    ),
    "used of another module than the one that is imported": (
        "import channels.db\ndef f():\n    import channels.auth\n    return channels.db, channels.layers",
        (
            "import grip_consumers.db\ndef f():\n    import grip_consumers.auth\n"
            "    return grip_consumers.db, grip_consumers.layers"
        ),
    ),
    "bound by a pattern": (
        "import channels\nmatch x:\n    case [*channels]: channels.y",
        "import grip_consumers as channels\nmatch x:\n    case [*channels]: channels.y",
    ),
    "bound out of a comprehension": (
        "import channels\ndef f():\n    [a for a in b if (channels := a)]\n    channels.x",
        "import grip_consumers as channels\ndef f():\n    [a for a in b if (channels := a)]\n    channels.x",
    ),
    "attributes and keywords": (
        "import channels\nself.channels = f(channels=channels)",
        "import grip_consumers\nself.channels = f(channels=grip_consumers)",
    ),
    "optional": (
        "try:\n    import channels\nexcept ImportError:\n    channels = None\nchannels.x",
        "try:\n    import grip_consumers as channels\nexcept ImportError:\n    channels = None\nchannels.x",
    ),
    "optional, of a module": (
        "try:\n    import os, channels.db\nexcept ImportError:\n    channels = None",
        "try:\n    import os, grip_consumers.db, grip_consumers as channels\nexcept ImportError:\n    channels = None",
    ),
    "exported": (
        '__all__ = ["channels"]\nimport channels',
        '__all__ = ["channels"]\nimport grip_consumers as channels',
    ),
    "declared global": (
        "def f():\n    global channels\n    import channels\nchannels.x",
        "def f():\n    global channels\n    import grip_consumers as channels\nchannels.x",
    ),
    "deleted": ("import channels\ndel channels", "import grip_consumers as channels\ndel channels"),
    "with comments": (
        "from channels.db import ( # a\n\n  # b\n  x_y , # c\n)",
        "from grip_consumers.db import ( # a\n\n  # b\n  x_y , # c\n)",
    ),
    "under a condition": (
        "if TYPE_CHECKING: from channels . db import x_y ; import os",
        "if TYPE_CHECKING: from grip_consumers . db import x_y ; import os",
    ),
}

LEFT = [
    "from . import channels\nchannels.layers",
    "from .channels import layers",
    "from ..channels.layers import x",
    "from my.channels import layers",
    "import my.channels.layers",
    "import channelsx, my.channels",
    "from channelsx.layers import y",
    "channels = {}\nchannels.layers",
    "import json  # import channels",
    '"""import channels"""',
    "from channels_redis.core import RedisChannelLayer",
    "import channels.asgi\nchannels.asgi",
]


@pytest.mark.parametrize("name", MOVED)
def test_an_import_is_moved(name: str) -> None:
    before, after = MOVED[name]
    assert planned(before, imports.plan)[0] == after


@pytest.mark.parametrize("name", MOVED)
def test_what_was_moved_stays(name: str) -> None:
    assert planned(MOVED[name][1], imports.plan)[0] == MOVED[name][1]


@pytest.mark.parametrize("text", LEFT)
def test_what_is_not_channels_stays(text: str) -> None:
    assert planned(text, imports.plan)[0] == text


NOTED = {
    "a module of an earlier release": ("import channels.asgi", "no-counterpart", "no module `channels.asgi`"),
    "below one": ("from channels.binding.base import x", "no-counterpart", "group_send"),
    "a name that is not there": ("from channels.layers import Nothing", "no-counterpart", "has no `Nothing`"),
    "a name of Channels 1": ("from channels import Group", "no-counterpart", "has no `Group`"),
    "the version": ("from channels import __version__", "no-counterpart", "is its own"),
    "the version, as an attribute": ("import channels; channels.__version__", "no-counterpart", "is its own"),
    "the version, by another name": ("import channels as c; c.__version__", "no-counterpart", "is its own"),
    "a library": ("from djangochannelsrestframework import x", "third-party", "as_channels"),
    "a library without the name": ("import turbo.consumers", "third-party", "as_channels"),
    "the server": ("from daphne.server import Server", "daphne", "Daphne's own"),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_has_no_counterpart_is_noted(name: str) -> None:
    before, kind, words = NOTED[name]
    (note,) = planned(f"\n{before}", imports.plan)[1]
    assert (note.line, note.kind) == (2, kind)
    assert words in note.text


@pytest.mark.parametrize("text", [after for _, after in MOVED.values()])
def test_nothing_is_noted_without_need(text: str) -> None:
    assert [note for note in planned(text, imports.plan)[1] if "x_y" not in note.text] == []


def test_a_name_that_other_files_reach_is_kept() -> None:
    text = "import channels.db, os\nchannels.db"
    after, notes = planned(text, lambda source: imports.plan(source, shared=True))
    assert (after, notes) == ("import grip_consumers.db, grip_consumers as channels, os\nchannels.db", [])


CONNECTED = [
    "import strawberry.channels",
    "from strawberry.channels.handlers import GraphQLWSConsumer",
    "import channels_graphql_ws",
    "from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer",
]


@pytest.mark.parametrize("text", CONNECTED)
@pytest.mark.parametrize("as_channels", [False, True])
def test_a_library_that_needs_connections_is_not_sent_to_this_package(text: str, *, as_channels: bool) -> None:
    (note,) = planned(text, lambda source: imports.plan(source, as_channels=as_channels))[1]
    assert note.kind == "third-party"
    assert "on an ASGI server with Channels" in note.text
    assert "Begin your settings" not in note.text


def test_strawberry_without_its_consumers_is_no_library_of_channels() -> None:
    assert planned("import strawberry\nfrom strawberry.django import x", imports.plan)[1] == []


def test_a_package_of_the_project_is_no_library() -> None:
    assert planned("import tvchannels", lambda source: imports.plan(source, local=frozenset({"tvchannels"})))[1] == []


def test_libraries_need_no_note_where_channels_resolves_to_this_package() -> None:
    assert planned("import djangochannelsrestframework", lambda source: imports.plan(source, as_channels=True))[1] == []


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("import channels.db", True),
        ("from grip_consumers import db", True),
        ("from .channels import db", False),
        ("import my.channels", False),
    ],
)
def test_whether_a_file_uses_either_package(text: str, *, uses: bool) -> None:
    assert imports.uses_package(Source(dedent(text), "a.py")) is uses
