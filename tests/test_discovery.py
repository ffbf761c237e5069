from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from grip_consumers import discovery

URI = "http://127.0.0.1:1234/.grip"


@pytest.fixture(autouse=True)
def own_temp_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_an_announcement_is_found_while_it_lasts_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert discovery.announced() == []
    with discovery.announce(URI):
        assert discovery.announced() == [URI]
    assert discovery.announced() == []
    assert list(tmp_path.iterdir()) == []


def test_several_proxies_of_a_project_are_found_oldest_first() -> None:
    with discovery.announce("http://b"), discovery.announce("http://a"):
        assert sorted(discovery.announced()) == ["http://a", "http://b"]
        for path in discovery.folder().iterdir():
            os.utime(path, (0, 0) if "http://b" in path.read_text() else None)
        assert discovery.announced() == ["http://b", "http://a"]


def test_another_process_of_the_project_finds_it(tmp_path: Path) -> None:
    code = (
        "import django; django.setup(); from grip_consumers import discovery; "
        "print(discovery.announced(), discovery.signing_key().hex())"
    )
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "TMPDIR": str(tmp_path)}
    with discovery.announce(URI):
        output = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert output.stdout.split() == [f"['{URI}']", discovery.signing_key().hex()]


def test_folder_and_file_are_this_users_alone() -> None:
    with discovery.announce(URI):
        (announcement,) = discovery.folder().iterdir()
        assert stat.S_IMODE(discovery.folder().stat().st_mode) == 0o700
        assert stat.S_IMODE(announcement.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["SECRET_KEY", "BASE_DIR", "ROOT_URLCONF"])
def test_projects_that_differ_do_not_find_each_other(settings: Any, name: str) -> None:
    with discovery.announce(URI):
        setattr(settings, name, "another")
        assert discovery.announced() == []


def test_the_signing_key_depends_on_the_secret_key_and_does_not_show_it(settings: Any) -> None:
    first = discovery.signing_key()
    assert len(first) == 32
    assert first == discovery.signing_key()
    assert str(settings.SECRET_KEY).encode() not in first
    settings.SECRET_KEY = "another"
    assert discovery.signing_key() != first


def test_the_folders_name_gives_no_key_away() -> None:
    assert discovery.signing_key().hex()[:8] not in discovery.folder().name
    assert str(settings.SECRET_KEY) not in discovery.folder().name


def test_the_announcement_of_a_process_that_has_ended_is_removed() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    place = discovery.folder()
    place.mkdir(mode=0o700)
    stale = place / "stale.json"
    stale.write_text(json.dumps({"control_uri": URI, "pid": ended.pid, "started": "1"}))
    stale.chmod(0o600)
    assert discovery.announced() == []
    assert not stale.exists()


def test_a_process_that_has_only_inherited_the_number_is_not_believed() -> None:
    place = discovery.folder()
    place.mkdir(mode=0o700)
    stale = place / "stale.json"
    stale.write_text(json.dumps({"control_uri": URI, "pid": os.getpid(), "started": "long ago"}))
    stale.chmod(0o600)
    assert discovery.announced() == []


def planted(tmp_path: Path) -> Path:
    """Return a valid announcement in a folder of this user, to be spoilt by the test."""
    place = discovery.folder()
    place.mkdir(mode=0o700)
    with discovery.announce(URI):
        (announcement,) = place.iterdir()
        copy = tmp_path / "copy.json"
        copy.write_bytes(announcement.read_bytes())
    place.mkdir(mode=0o700, exist_ok=True)
    copy.chmod(0o600)
    return copy.rename(place / "planted.json")


def test_a_planted_copy_of_ones_own_is_the_control_of_the_tests_below(tmp_path: Path) -> None:
    planted(tmp_path)
    assert discovery.announced() == [URI]


def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    planted(tmp_path)
    discovery.folder().chmod(0o777)
    assert discovery.announced() == []
    with pytest.raises(PermissionError, match="writable by nobody else"), discovery.announce(URI):
        pass


def test_a_file_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    planted(tmp_path).chmod(0o666)
    assert discovery.announced() == []


def test_a_link_to_a_folder_or_file_is_not_trusted(tmp_path: Path) -> None:
    announcement = planted(tmp_path)
    announcement.rename(tmp_path / "elsewhere.json")
    announcement.symlink_to(tmp_path / "elsewhere.json")
    assert discovery.announced() == []
    announcement.unlink()
    discovery.folder().rename(tmp_path / "elsewhere")
    discovery.folder().symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere.json").rename(tmp_path / "elsewhere" / "planted.json")
    assert discovery.announced() == []


def test_what_belongs_to_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    announcement = planted(tmp_path)
    place = discovery.folder()
    monkeypatch.setattr(discovery, "folder", lambda: place)
    real = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: real + 1)
    assert discovery.announced() == []
    assert announcement.exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"control_uri": 5, "pid": 1, "started": null}', '{"control_uri": "x"}'],
)
def test_a_file_that_is_no_announcement_is_ignored(tmp_path: Path, text: str) -> None:
    announcement = planted(tmp_path)
    announcement.write_text(text)
    assert discovery.announced() == []
