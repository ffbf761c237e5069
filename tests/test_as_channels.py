"""`channels` stands for this package: same modules, same classes, nothing else, and never beside real Channels.

Each claim about the import system is looked at in a process of its own, as real Channels is imported in this one.
"""

from __future__ import annotations

import importlib.util
import json
import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import channels
import pytest

#: Modules of Channels 4.3 that are modules of their own here, too.
OWN = {"channels.apps"}
NAMES = sorted({info.name for info in pkgutil.walk_packages(channels.__path__, "channels.")})
OTHER_RELEASES = ["channels.log", "channels.generic.websockets"]
NO_RELEASE = ["channels.tasks", "channels.conf", "channels.management.commands.nope"]
#: Modules of this package alone, below packages that are shared.
PRIVATE = ["channels.testing.servers", "channels.generic.held", "channels.layers.in_memory", "channels.routing.routers"]

LOOK = """
import importlib, importlib.util, json, sys, threading
import grip_consumers.as_channels
from django.conf import settings

loaded = sorted(n for n in sys.modules if n.startswith("channels.") and sys.modules[n])
seen = {"loaded": loaded, "configured": settings.configured}
names, others, absent = json.loads(sys.argv[1])
settings.configure(
    INSTALLED_APPS=["channels", "grip_consumers", "django.contrib.auth", "django.contrib.contenttypes"],
    SECRET_KEY="x", DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
import django
django.setup()
import channels

def ours(name):
    return importlib.import_module("grip_consumers" + name.removeprefix("channels"))

def attempt(name):
    try:
        return importlib.import_module(name).__name__
    except ModuleNotFoundError as error:
        return [error.name, str(error)]

seen["version"], seen["alias"] = channels.__version__, channels.DEFAULT_CHANNEL_LAYER
seen["same"] = {name: importlib.import_module(name) is ours(name) for name in names}
seen["specs"] = sorted({importlib.import_module(name).__spec__.name.partition(".")[0] for name in names})
seen["children"] = channels.generic.websocket is ours("channels.generic.websocket")
seen["others"] = {name: [importlib.util.find_spec(name) is None, attempt(name)] for name in others}
seen["absent"] = {name: [importlib.util.find_spec(name) is None, attempt(name)] for name in absent}
from unittest import mock
with mock.patch("channels.layers.get_channel_layer", "patched"):
    seen["patched"] = ours("channels.layers").get_channel_layer
from django.apps import apps
from django.core.management import call_command, get_commands, load_command_class
seen["apps"] = [[config.name, type(config).__module__, config.path] for config in apps.get_app_configs()][:2]
commands = get_commands()
seen["commands"] = {name: commands.get(name) for name in ("runserver", "runworker")}
seen["classes"] = {name: type(load_command_class("channels", name)).__module__ for name in ("runserver", "runworker")}
from django.test.utils import override_settings
with override_settings(INSTALLED_APPS=["channels"]):
    from grip_consumers.management.commands.runserver import next_runserver
    seen["alone"] = next_runserver().__module__
call_command("check", "--tag", "grip", stdout=open("/dev/null", "w"), stderr=open("/dev/null", "w"))
import grip_consumers.as_channels as again
importlib.reload(again)
seen["finders"] = sum(type(finder).__name__ == "ChannelsFinder" for finder in sys.meta_path)
seen["hooks"] = sum(getattr(hook, "__module__", "") == again.__name__ for hook in sys.path_hooks)
print(json.dumps(seen))
"""


def run(code: str, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=folder)


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What a process sees that imports this module first."""
    names = [name for name in NAMES if name not in OWN]
    done = run(LOOK, json.dumps([names, OTHER_RELEASES, NO_RELEASE]))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_importing_it_loads_no_submodule_and_reads_no_setting(seen: dict[str, Any]) -> None:
    assert (seen["loaded"], seen["configured"]) == ([], False)


def test_every_module_of_channels_is_the_module_of_this_package(seen: dict[str, Any]) -> None:
    assert seen["same"] == dict.fromkeys(seen["same"], True)
    assert len(seen["same"]) > 20
    assert seen["children"] is True


def test_the_modules_keep_the_specs_they_had(seen: dict[str, Any]) -> None:
    assert seen["specs"] == ["grip_consumers"]


def test_the_package_says_which_release_it_stands_for(seen: dict[str, Any]) -> None:
    assert seen["version"] == channels.__version__ == version("channels")
    assert seen["alias"] == channels.DEFAULT_CHANNEL_LAYER


def test_what_older_releases_had_is_refused_with_advice(seen: dict[str, Any]) -> None:
    for name, (_, (missing, text)) in seen["others"].items():
        assert missing == name
        assert text.startswith(f"No module named {name!r}: grip_consumers.as_channels stands in for Channels 4.3.2")
        assert "supports Channels 4" in text


def test_what_older_releases_had_is_not_there_for_who_only_asks(seen: dict[str, Any]) -> None:
    assert {name: is_missing for name, (is_missing, _) in seen["others"].items()} == dict.fromkeys(OTHER_RELEASES, True)


def test_what_no_release_had_is_missing_as_any_module(seen: dict[str, Any]) -> None:
    """Django and task queues look for `models`, `tasks` and the like in every installed application."""
    for name, (is_missing, (missing, text)) in seen["absent"].items():
        assert (is_missing, missing, text) == (True, name, f"No module named {name!r}")


def test_a_name_patched_in_one_is_patched_in_the_other(seen: dict[str, Any]) -> None:
    assert seen["patched"] == "patched"


def test_both_names_stand_in_installed_apps_and_bring_the_commands(seen: dict[str, Any]) -> None:
    folder = str(Path(__file__).parent.parent / "grip_consumers")
    assert seen["apps"] == [["channels", "channels.apps", folder], ["grip_consumers", "grip_consumers.apps", folder]]
    assert seen["commands"] == dict.fromkeys(["runserver", "runworker"], "channels")
    # The class of runserver is made for the project, so its module is what it says it is.
    assert seen["classes"] == {
        name: f"grip_consumers.management.commands.{name}" for name in ("runserver", "runworker")
    }


def test_installed_as_channels_alone_its_runserver_is_not_its_own_parent(seen: dict[str, Any]) -> None:
    assert seen["alone"] == "django.core.management.commands.runserver"


def test_importing_it_again_adds_no_second_finder(seen: dict[str, Any]) -> None:
    assert (seen["finders"], seen["hooks"]) == (1, 1)


ASKED_FIRST = """
import importlib, importlib.util, json, sys
import grip_consumers.as_channels

def attempt(name):
    try:
        return importlib.import_module(name).__name__
    except ModuleNotFoundError as error:
        return error.name

names = json.loads(sys.argv[1])
before = {name: str(importlib.util.find_spec(name)) for name in names}
imported = {name: attempt(name) for name in names}
after = {name: str(importlib.util.find_spec(name)) for name in names}
print(json.dumps([before, imported, after]))
"""


def is_in_channels(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package there
        return False


def test_what_channels_lacks_has_no_spec_in_either_before_or_after_it_is_tried() -> None:
    """Also when nothing below `channels` has been imported yet, the parents of these neither."""
    names = [*OTHER_RELEASES, *NO_RELEASE, *PRIVATE]
    done = run(ASKED_FIRST, json.dumps(names))
    assert done.returncode == 0, done.stderr
    missing = dict.fromkeys(names, "None")
    assert json.loads(done.stdout) == [missing, {name: name for name in names}, missing]
    assert [name for name in names if is_in_channels(name)] == []


def test_a_module_that_asks_while_it_is_being_imported_gets_no_error(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text("from importlib.util import find_spec\nprint(find_spec('channels.log'))\n")
    done = run("import grip_consumers.as_channels, asks", folder=tmp_path)
    assert (done.stdout, done.returncode) == ("None\n", 0), done.stderr


def test_what_is_private_here_is_reached_by_its_own_name_meanwhile() -> None:
    done = run(
        "import grip_consumers.as_channels, channels.testing, grip_consumers.testing.servers\n"
        "print(channels.testing.servers.__name__)\n"
    )
    assert done.stdout.strip() == "grip_consumers.testing.servers", done.stderr


PLACE = """
import inspect, json, pkgutil
from pathlib import Path
import grip_consumers.as_channels
import channels, channels.apps

top = [[info.name, info.ispkg] for info in pkgutil.iter_modules(channels.__path__, "channels.")]
walked = sorted(info.name for info in pkgutil.walk_packages(channels.__path__, "channels."))
sources = [inspect.getsourcefile(module) for module in (channels, channels.apps)]
found = pkgutil.iter_modules(channels.__path__, "channels.")
names = [info.module_finder.find_spec(info.name).name for info in found]
print(json.dumps([top, walked, channels.__file__, sources, [Path(path).exists() for path in channels.__path__], names]))
"""


@pytest.fixture(scope="module")
def place() -> list[Any]:
    """What a process sees that asks where the package is and what it holds."""
    done = run(PLACE)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_the_package_has_a_file_in_which_its_source_is_found(place: list[Any]) -> None:
    _, _, file, sources, _, _ = place
    assert file == str(Path(__file__).parent.parent / "grip_consumers" / "as_channels.py")
    assert sources == [file, file]


def test_the_package_lists_the_modules_that_channels_lists(place: list[Any]) -> None:
    top, walked, _, _, _, found = place
    expected = [[info.name, info.ispkg] for info in pkgutil.iter_modules(channels.__path__, "channels.")]
    assert top == expected
    assert found == [name for name, _ in expected]
    assert set(NAMES) <= set(walked)


def test_the_path_of_the_package_leads_to_no_folder_in_which_others_would_find_more(place: list[Any]) -> None:
    assert place[4] == [False]


IN_FRONT = """
import importlib, json, sys
from importlib.machinery import PathFinder
import grip_consumers.as_channels
from django.conf import settings
settings.configure()
early, names, private = json.loads(sys.argv[1])
for name in early:
    importlib.import_module(name)
sys.meta_path.insert(0, PathFinder)

def attempt(name):
    try:
        return importlib.import_module(name).__name__
    except ModuleNotFoundError:
        return None

ours = lambda name: importlib.import_module("grip_consumers" + name.removeprefix("channels"))
print(json.dumps([[n for n in names if importlib.import_module(n) is not ours(n)], [attempt(n) for n in private]]))
"""
COMMANDS = [f"channels.management.commands.{name}" for name in ("check", "runserver", "runworker")]


@pytest.mark.parametrize("early", [[], ["channels.generic", "channels.security", "channels.testing", *COMMANDS[:1]]])
def test_no_module_is_loaded_twice_when_another_finder_comes_before(early: list[str]) -> None:
    """Tools that look at what is imported put one first, which finds our folders by the path of a shared package."""
    names = [*sorted({*NAMES, *COMMANDS} - OWN, key=lambda name: -name.count("."))]
    done = run(IN_FRONT, json.dumps([early, names, PRIVATE]))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], [None] * len(PRIVATE)]


TOO_LATE = """
import site_that_came_first
try:
    import grip_consumers.as_channels
except RuntimeError as error:
    print(error)
import sys
print(any(type(finder).__name__ == "ChannelsFinder" for finder in sys.meta_path))
"""


@pytest.mark.parametrize(
    "line",
    ["from channels.db import database_sync_to_async", "import channels", "from channels import exceptions as e"],
)
def test_it_refuses_when_real_channels_is_loaded_and_says_who_has_it(line: str, tmp_path: Path) -> None:
    (tmp_path / "site_that_came_first.py").write_text(
        f"from django.conf import settings\nfrom django.utils.functional import SimpleLazyObject\n{line}\n"
        "sleeping = SimpleLazyObject(lambda: 1 / 0)\n"
    )
    done = run(TOO_LATE, folder=tmp_path)
    refusal, installed = done.stdout.splitlines()
    assert "imported too late: real Channels is loaded already" in refusal
    assert "Modules that hold something of it: site_that_came_first." in refusal
    assert "on top of the settings" in refusal
    assert installed == "False"


def test_it_does_not_need_channels_to_be_installed() -> None:
    code = (
        "import sys, grip_consumers.as_channels\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'channels': raise ImportError(name)\n"
        "sys.meta_path.insert(1, Without())\n"
        "from channels.generic.websocket import WebsocketConsumer\n"
        "print(WebsocketConsumer.__module__)\n"
    )
    done = run(code)
    assert done.stdout.strip() == "grip_consumers.generic.websocket", done.stderr


def test_a_module_that_cannot_be_loaded_stops_none_of_the_others() -> None:
    """A package comes with those below it, of which one may need what is not installed."""
    done = run(
        "import sys, grip_consumers.as_channels\n"
        "sys.modules['django.contrib.staticfiles.handlers'] = None\n"
        "from channels.testing import WebsocketCommunicator\n"
        "print(WebsocketCommunicator.__module__)\n"
        "try:\n"
        "    import channels.testing.live\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error.name)\n"
    )
    assert done.stdout.split() == ["grip_consumers.testing.websocket", "django.contrib.staticfiles.handlers"], (
        done.stderr
    )
