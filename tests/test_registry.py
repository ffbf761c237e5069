from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import registry
from grip_consumers.registry import register, routed_consumers


class First:
    pass


class Second:
    pass


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    monkeypatch.setattr(registry, "_loaded", None)


@pytest.fixture
def asgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module `registry_test_asgi` that the test writes."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "registry_test_asgi.py"
    sys.modules.pop("registry_test_asgi", None)


def test_classes_come_once_and_by_name() -> None:
    for cls in (Second, First, Second):
        register(cls)
    assert routed_consumers() == [First, Second]


def test_the_routing_of_the_project_is_imported_first(asgi: Path, settings: Any) -> None:
    asgi.write_text(
        "from grip_consumers.registry import register\nfrom tests.test_registry import First\nregister(First)\n"
    )
    settings.ASGI_APPLICATION = "registry_test_asgi.application"
    assert routed_consumers() == [First]
    assert "registry_test_asgi" in sys.modules


def test_an_error_in_the_project_s_routing_is_shown_as_it_is(asgi: Path, settings: Any) -> None:
    asgi.write_text("import a_module_that_is_not_there\n")
    settings.ASGI_APPLICATION = "registry_test_asgi.application"
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        routed_consumers()


def test_without_a_routing_the_setting_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"Cannot find ASGI_APPLICATION setting.*'mysite\.asgi\.app"):
        routed_consumers()


def test_without_the_setting_what_is_routed_is_enough() -> None:
    register(First)
    assert routed_consumers() == [First]


@pytest.mark.parametrize("path", ["application", 5, "."])
def test_a_setting_that_is_no_dotted_path_is_named(path: Any, settings: Any) -> None:
    settings.ASGI_APPLICATION = path
    with pytest.raises(ImproperlyConfigured, match="ASGI_APPLICATION must be the dotted path"):
        routed_consumers()


def test_a_class_that_is_gone_is_no_longer_routed() -> None:
    register(First)
    register(type("Gone", (), {}))
    gc.collect()
    assert routed_consumers() == [First]


class Watched(weakref.WeakSet[type]):
    """Has another thread register a class while somebody goes through this one."""

    waited: bool | None = None

    def __iter__(self) -> Iterator[type]:
        self.thread = threading.Thread(target=register, args=(Second,))
        self.thread.start()
        self.thread.join(0.05)
        self.waited = self.thread.is_alive()
        return super().__iter__()


def test_a_class_that_is_routed_meanwhile_waits_until_the_others_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", watched := Watched([First]))
    assert routed_consumers() == [First]
    watched.thread.join()
    assert watched.waited
    assert routed_consumers() == [First, Second]
    watched.thread.join()
