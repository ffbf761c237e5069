from __future__ import annotations

import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from websockets.sync.client import connect

from grip_consumers import conf
from grip_consumers.layers import get_channel_layer
from grip_consumers.testing import ChannelsLiveServerTestCase, GripLiveServerTestCase, live
from grip_consumers.testing.servers import EmbeddedServer

PATIENCE = 20
PROJECT = override_settings(
    ASGI_APPLICATION="tests.testing.site.application",
    ROOT_URLCONF="tests.testing.site",
    GRIP_PROXIES=[{"control_uri": "http://127.0.0.1:9"}],
    GRIP_MAILBOX="nowhere.to.be.Found",
    STATICFILES_DIRS=[Path(__file__).parent],
)


class _Case:
    """What each kind of live server has to do."""

    def socket(self: Any, path: str) -> Any:
        return connect(f"{self.live_server_ws_url}{path}", proxy=None, open_timeout=PATIENCE)

    def get(self: Any, path: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.live_server_url}{path}", timeout=PATIENCE) as response:
            content: bytes = response.read()
            return content

    def test_pages_and_the_test_itself_send_to_sockets(self: Any) -> None:
        with self.socket("/ws/rooms/r/") as one, self.socket("/ws/rooms/r/") as two:
            one.send("a")
            assert [one.recv(PATIENCE), two.recv(PATIENCE)] == ["a 1", "a 1"]
            assert self.get("/say/r/") == b"sent"
            assert [one.recv(PATIENCE), two.recv(PATIENCE)] == ["from a view"] * 2
            async_to_sync(get_channel_layer().group_send)("r", {"type": "counted", "what": "all"})
            assert [one.recv(PATIENCE), two.recv(PATIENCE)] == ["all 1", "all 0"]

    def test_the_database_is_that_of_the_test(self: Any) -> None:
        User.objects.create(username="of-the-test")
        with self.socket("/ws/clerk/") as socket:
            socket.send("of-the-consumer")
            assert socket.recv(PATIENCE) == '["of-the-consumer", "of-the-test"]'


@PROJECT
class EmbeddedTests(_Case, ChannelsLiveServerTestCase):
    def test_static_files_are_served(self: Any) -> None:
        assert self.get(f"/static/{Path(__file__).name}") == Path(__file__).read_bytes()


@PROJECT
@pytest.mark.skipif(shutil.which("pushpin") is None, reason="pushpin is not installed")
class PushpinTests(_Case, GripLiveServerTestCase):
    proxy = "pushpin"


@pytest.mark.parametrize(
    ("attributes", "error", "text"),
    [
        ({"_is_in_memory_db": classmethod(lambda cls, connection: True)}, ImproperlyConfigured, "in memory databases"),
        ({"proxy": "another"}, ImproperlyConfigured, "must be 'embedded' or 'pushpin', not 'another'"),
    ],
    ids=["database", "proxy"],
)
@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_served_is_refused(attributes: dict[str, Any], error: type[Exception], text: str) -> None:
    before = conf.get()
    case = type("Case", (GripLiveServerTestCase,), {"test": lambda self: None, **attributes})
    try:
        with pytest.raises(error, match=text):
            case.setUpClass()
    finally:
        case.doClassCleanups()
    assert conf.get() == before


def test_a_server_that_does_not_start_says_why() -> None:
    def fail() -> Any:
        raise LookupError("no application")

    with pytest.raises(LookupError, match="no application"):
        live._started(EmbeddedServer("127.0.0.1", fail))
    silent: Any = mock.Mock(ready=threading.Event())
    silent.is_alive.return_value = False
    silent.errors.empty.return_value = True
    with mock.patch.object(silent.ready, "wait", return_value=False), pytest.raises(RuntimeError, match="stopped"):
        live._started(silent)


def test_without_the_servers_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"grip-consumers\[server\]"):
        EmbeddedServer("127.0.0.1", lambda: None)
