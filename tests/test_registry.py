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

from grip_consumers import complaints, registry
from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.registry import register, register_stream, routed_consumers, stream_classes

from . import batches

wsgi_site = batches.wsgi_site


class First:
    pass


class Second:
    pass


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    monkeypatch.setattr(registry, "_streams", weakref.WeakSet())
    monkeypatch.setattr(registry, "_loaded", None)
    monkeypatch.setattr(registry, "_loaded_urls", None)
    monkeypatch.setattr(complaints, "_said", set())


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


# Streams ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Path]:
    """ROOT_URLCONF, a module `registry_test_urls` that the test writes."""
    monkeypatch.syspath_prepend(tmp_path)
    settings.ROOT_URLCONF = "registry_test_urls"
    yield tmp_path / "registry_test_urls.py"
    sys.modules.pop("registry_test_urls", None)


def test_streams_come_once_by_name_and_apart_from_consumers() -> None:
    for cls in (Second, First, Second):
        register_stream(cls)
    assert stream_classes() == [First, Second]
    assert routed_consumers() == []


def test_the_urls_of_the_project_are_imported_first(urls: Path) -> None:
    urls.write_text(
        "from grip_consumers.registry import register_stream\n"
        "from tests.test_registry import First\nregister_stream(First)\n"
    )
    assert stream_classes() == [First]


def test_the_routing_is_imported_for_streams_too(asgi: Path, settings: Any) -> None:
    asgi.write_text(
        "from grip_consumers.registry import register_stream\n"
        "from tests.test_registry import Second\nregister_stream(Second)\n"
    )
    settings.ROOT_URLCONF = None
    settings.ASGI_APPLICATION = "registry_test_asgi.application"
    assert stream_classes() == [Second]


def test_an_error_in_the_project_s_urls_is_logged_once_and_stops_no_sender(
    urls: Path, caplog: pytest.LogCaptureFixture
) -> None:
    urls.write_text("import a_module_that_is_not_there\n")
    register_stream(First)
    for _ in range(2):
        assert stream_classes() == [First]
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "registry_test_urls" in record.getMessage()
    assert record.exc_info is not None


def test_it_is_known_whether_asking_for_streams_imports_anything(urls: Path) -> None:
    urls.write_text("")
    assert not registry.is_loaded()
    stream_classes()
    assert registry.is_loaded()


def test_a_process_without_urls_and_routing_has_no_streams(settings: Any) -> None:
    del settings.ROOT_URLCONF
    assert stream_classes() == []


def test_a_stream_that_is_gone_is_no_longer_served() -> None:
    register_stream(type("Gone", (), {}))
    gc.collect()
    assert stream_classes() == []


# What the routing does not lead to ----------------------------------------------------------------------------------


@batches.importable
class Hidden(AsyncWebsocketConsumer):
    pass


async def routes_it(scope: Any, receive: Any, send: Any) -> None:
    await Hidden.as_asgi()(scope, receive, send)


async def makes_it(scope: Any, receive: Any, send: Any) -> None:
    await Hidden()(scope, receive, send)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == "grip_consumers.compatibility"]


@pytest.mark.parametrize("application", [routes_it, makes_it])
def test_a_class_that_comes_to_light_with_a_connection_is_warned_of_once(
    application: Any, wsgi_site: batches.Site, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        wsgi_site.serve(application)
        wsgi_site.opened()
        assert list(registry._classes) == [Hidden]
        registry._classes.clear()
    (text,) = said(caplog)
    assert text.startswith(
        f"{Hidden.__module__}.{Hidden.__qualname__} came to light only when a connection came: importing "
        "ASGI_APPLICATION ('tests.batches.application') does not lead to it. "
    )
    assert text.endswith(registry.ROUTE_IT)


def test_a_class_that_was_routed_before_is_not_warned_of(
    wsgi_site: batches.Site, caplog: pytest.LogCaptureFixture
) -> None:
    wsgi_site.serve(Hidden)
    wsgi_site.opened()
    assert said(caplog) == []


def test_the_routing_is_imported_before_a_class_counts_as_unknown(
    asgi: Path, settings: Any, wsgi_site: batches.Site, caplog: pytest.LogCaptureFixture
) -> None:
    asgi.write_text("from tests.test_registry import Hidden, makes_it as application\nHidden.as_asgi()\n")
    settings.ASGI_APPLICATION = "registry_test_asgi.application"
    wsgi_site.opened("/anywhere/")
    assert said(caplog) == []


async def test_an_event_that_nobody_can_get_is_warned_of_once(
    wsgi_site: batches.Site, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    for _ in range(2):
        await get_channel_layer().group_send("news", {"type": "tell"})
    (text,) = said(caplog)
    assert text.startswith(
        "An event was sent to the group 'news', but nobody gets it, as this process knows no consumer: importing "
        "ASGI_APPLICATION ('tests.batches.application') leads to none. "
    )
    assert text.endswith(registry.ROUTE_IT)


@pytest.mark.parametrize("note", [register, register_stream])
async def test_an_event_that_no_known_class_handles_is_not_warned_of(
    note: Any, wsgi_site: batches.Site, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    @note
    class Deaf:
        @classmethod
        def grip_handles(cls, handler: str) -> bool:
            return False

    # Registered for as long as it is referred to.
    kept = [*registry._classes, *registry._streams]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    await get_channel_layer().group_send("news", {"type": "tell"})
    assert len(kept) == 1
    assert said(caplog) == []
