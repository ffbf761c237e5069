"""Names of imports that other files reach, so that they have to stay."""

from __future__ import annotations

import pytest

from grip_consumers.migrate import sharing
from grip_consumers.migrate.source import Source

#: Another file, and what it says by which it reaches `channels` of app/compat.py.
REACHED = {
    "from the module": ("app/views.py", "from .compat import channels"),
    "from the module, by another name": ("app/views.py", "from app.compat import x, channels as c"),
    "from a package below": ("app/sub/views.py", "from ..compat import channels"),
    "as an attribute": ("app/views.py", "from app import compat\ncompat.channels.layers"),
    "as an attribute of a module beside it": ("app/views.py", "from . import compat as c\nc.channels"),
    "by the whole path": ("other.py", "import app.compat\napp.compat.channels.db"),
    "by an alias": ("other.py", "import app.compat as c\nc.channels"),
    "in a dotted string": ("tests.py", "patch('app.compat.channels.layers.get_channel_layer')"),
    "at the end of one": ("tests.py", "patch('app.compat.channels')"),
    "patched": ("tests.py", "from app import compat\npatch.object(compat, 'channels')"),
    "with all other names": ("app/views.py", "from .compat import *\nchannels.layers"),
    "seen from another folder": ("views.py", "from src.app.compat import channels"),
}

UNREACHED = {
    "without the name": ("app/views.py", "from .compat import layers"),
    "of a package of that name": ("app/views.py", "from .channels import layers"),
    "of something else": ("app/views.py", "self.channels.layers"),
    "of another module": ("app/views.py", "from .radio import channels"),
    "in another string": ("app/views.py", "'see app.compat.channels.layers'"),
    "with all other names, unused": ("app/views.py", "from .compat import *"),
}


def shared(*files: tuple[str, str]) -> set[str]:
    return set(sharing.shared([Source(text, path) for path, text in files]))


COMPAT = ("app/compat.py", "import channels\n")


@pytest.mark.parametrize("name", REACHED)
def test_a_name_that_another_file_reaches_is_shared(name: str) -> None:
    assert shared(COMPAT, REACHED[name]) == {"app/compat.py"}


@pytest.mark.parametrize("name", UNREACHED)
def test_any_other_is_not(name: str) -> None:
    assert shared(COMPAT, UNREACHED[name]) == set()


def test_a_file_that_does_not_bind_the_name_is_not_shared() -> None:
    assert shared(("app/compat.py", "from channels import db"), REACHED["from the module"]) == set()


def test_a_package_is_its_init() -> None:
    files = [("app/__init__.py", "import channels"), ("app/views.py", "from . import channels")]
    assert shared(*files) == {"app/__init__.py"}


def test_names_are_followed_through_files_that_hand_all_of_them_on() -> None:
    between = ("app/between.py", "from .compat import *")
    assert shared(COMPAT, between, ("app/views.py", "from .between import channels")) == {"app/compat.py"}
