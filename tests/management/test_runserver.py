from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.contrib.staticfiles.management.commands.runserver import Command as StaticRunserver
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.commands.runserver import Command as DjangoRunserver
from django.test import override_settings
from websockets.asyncio.client import ClientConnection, connect

from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.embedded.server import DevelopmentServer
from grip_consumers.management.commands import runserver
from grip_consumers.testing.processes import ServerProcess, running
from tests.clients import http_client

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 20.0

PROJECT = {
    "settings.py": """
        from pathlib import Path
        BASE_DIR = Path(__file__).parent
        SECRET_KEY = "a secret key of a project that lives for one test"
        DEBUG = True
        ALLOWED_HOSTS = ["*"]
        INSTALLED_APPS = ["grip_consumers", "django.contrib.staticfiles"]
        ROOT_URLCONF = "urls"
        STATIC_URL = "/static/"
        STATICFILES_DIRS = [BASE_DIR / "assets"]
        ASGI_APPLICATION = "asgi.application"
        USE_TZ = True
    """,
    "urls.py": """
        from django.http import HttpResponse
        from django.urls import path
        urlpatterns = [path("", lambda request: HttpResponse("a page"))]
    """,
    # Accepts every WebSocket into the channel "all", and writes down what it is told.
    "asgi.py": """
        from pathlib import Path
        from django.core.asgi import get_asgi_application
        django = get_asgi_application()
        HEADERS = [(b"content-type", b"application/websocket-events"), (b"sec-websocket-extensions", b"grip")]
        SUBSCRIBE = b'c:{"type": "subscribe", "channel": "all"}'
        async def application(scope, receive, send):
            if scope["type"] != "http" or scope["path"] != "/ws/":
                return await django(scope, receive, send)
            told = (await receive())["body"]
            with Path(__file__).with_name("told").open("ab") as file:
                file.write(told)
            accept = b"OPEN\\r\\nTEXT %x\\r\\n%s\\r\\n" % (len(SUBSCRIBE), SUBSCRIBE)
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body", "body": accept if told == b"OPEN\\r\\n" else b""})
    """,
    "publish.py": """
        import sys, time, urllib.request
        import django, jwt
        django.setup()
        from grip_consumers import discovery
        (uri,) = discovery.announced()
        claims = {"iss": discovery.ISSUER, "exp": int(time.time()) + 60}
        token = jwt.encode(claims, discovery.signing_key(), algorithm="HS256")
        body = b'{"items": [{"channel": "all", "formats": {"ws-message": {"content": "from elsewhere"}}}]}'
        request = urllib.request.Request(uri + "/publish/", body, {"Authorization": "Bearer " + token})
        print(urllib.request.urlopen(request).read().decode())
    """,
    "assets/style.css": "body {}",
}

Serve = Callable[..., AbstractContextManager[ServerProcess]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "assets").mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    for name, text in PROJECT.items():
        (folder / name).write_text(textwrap.dedent(text))
    return folder


def environment(project: Path) -> dict[str, str]:
    path = os.pathsep.join((str(project), str(ROOT)))
    own = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": path, "TMPDIR": str(project.parent / "tmp")}
    return os.environ | own | {"PYTHONUNBUFFERED": "1"}


def command(*arguments: str) -> list[str]:
    # Django's own parent process of the autoreloader warns of a child left running when it is interrupted.
    return [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::ResourceWarning",
        "-m",
        "django",
        "runserver",
        *arguments,
    ]


@pytest.fixture
def serve(project: Path) -> Serve:
    def start(*arguments: str) -> AbstractContextManager[ServerProcess]:
        ready = lambda process: port_of(process) is not None  # noqa: E731
        return running(command(*arguments), ready=ready, cwd=project, env=environment(project), timeout=PATIENCE)

    return start


def port_of(process: ServerProcess) -> str | None:
    found = re.findall(r"WebSockets at ws://127\.0\.0\.1:(\d+)/", process.log())
    return found[-1] if found else None


def told(project: Path) -> bytes:
    path = project / "told"
    return path.read_bytes() if path.exists() else b""


async def test_one_port_has_pages_static_files_and_websockets_that_other_processes_publish_to(
    project: Path, serve: Serve
) -> None:
    with serve("0", "--noreload") as process:
        port = port_of(process)
        async with http_client(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/")).text == "a page"
            assert (await client.get("/static/style.css")).text == "body {}"
        async with connect(f"ws://127.0.0.1:{port}/ws/") as websocket:
            publish = [sys.executable, str(project / "publish.py")]
            output = subprocess.run(publish, env=environment(project), capture_output=True, text=True, check=False)
            assert output.stdout.strip() == "Published", output.stderr
            assert await asyncio.wait_for(websocket.recv(), PATIENCE) == "from elsewhere"
            os.kill(process.pid, signal.SIGTERM)
            await asyncio.wait_for(websocket.wait_closed(), PATIENCE)
            assert websocket.close_code == 1012
        assert process.wait() == 0
        assert told(project) == b"OPEN\r\nDISCONNECT\r\n"
        log = process.log()
    # Django 6.1 names the interface.
    assert re.search(rf"Starting (ASGI )?development server at http://127\.0\.0\.1:{port}/", log)
    assert "for development and tests only" in log
    assert '"GET /static/style.css HTTP/1.1" 200' in log
    assert '"WEBSOCKET /ws/ HTTP/1.1" 101' in log
    assert "Traceback" not in log
    assert "Warning" not in log
    assert list((project.parent / "tmp").iterdir()) == []


async def touch_until_closed(path: Path, websocket: ClientConnection) -> None:
    """Change a file's time again and again: the reloader misses what changes before its first look."""
    closed = asyncio.ensure_future(websocket.wait_closed())
    for _ in range(20):
        os.utime(path)
        done, _pending = await asyncio.wait({closed}, timeout=PATIENCE / 20)
        if done:
            return
    raise AssertionError("The connection outlived a changed file.")


async def test_a_changed_file_ends_the_connections_promptly_and_starts_anew(project: Path, serve: Serve) -> None:
    with serve("0") as process:
        first = port_of(process)
        async with connect(f"ws://127.0.0.1:{first}/ws/") as websocket:
            await touch_until_closed(project / "urls.py", websocket)
            assert websocket.close_code == 1012
        process.wait_until(lambda: process.log().count("development server at") == 2, what="the reload")
        process.wait_until(lambda: port_of(process) != first, what="the new port")
        async with http_client() as client:
            assert (await client.get(f"http://127.0.0.1:{port_of(process)}/")).text == "a page"
        assert told(project) == b"OPEN\r\nDISCONNECT\r\n"
        process.interrupt()
        assert process.wait() == 0
        assert "Traceback" not in process.log()


def test_a_port_in_use_is_said_as_django_says_it(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = command(str(taken.getsockname()[1]), "--noreload")
        output = subprocess.run(
            arguments, cwd=project, env=environment(project), capture_output=True, text=True, check=False
        )
    assert output.returncode == 1
    assert "Error: That port is already in use." in output.stderr


def test_the_command_stands_on_the_next_apps_and_importing_it_makes_nothing() -> None:
    assert "Command" not in vars(runserver)
    with override_settings(INSTALLED_APPS=["grip_consumers", "django.contrib.staticfiles"]):
        made = load_command_class("grip_consumers", "runserver")
        assert isinstance(made, StaticRunserver)
        assert type(made) is runserver.Command


@pytest.mark.parametrize(
    ("installed", "parent"),
    [
        (["grip_consumers"], DjangoRunserver),
        (["grip_consumers", "django.contrib.staticfiles"], StaticRunserver),
        (["django.contrib.staticfiles", "grip_consumers"], DjangoRunserver),
    ],
)
def test_the_next_runserver_is_that_of_the_first_app_behind(installed: list[str], parent: type) -> None:
    with override_settings(INSTALLED_APPS=installed):
        assert runserver.next_runserver() is parent


def test_an_unknown_name_of_the_module_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = runserver.Nonsense


def handler(**options: Any) -> Any:
    made = runserver.make_command(StaticRunserver)()
    made._use_grip = options.pop("use_grip", True)  # type: ignore[attr-defined]
    return made.get_handler(**{"use_static_handler": True, "insecure_serving": False, **options})


async def application(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("debug", "options", "static"),
    [
        (True, {}, True),
        (True, {"use_static_handler": False}, False),
        (False, {}, False),
        (False, {"insecure_serving": True}, True),
    ],
)
def test_static_files_are_served_in_debug_or_when_insecure_unless_told_not_to(
    debug: bool, options: dict[str, Any], static: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapped: list[Any] = []
    monkeypatch.setattr(
        "grip_consumers.embedded.EmbeddedProxy",
        lambda app, **_: wrapped.append(app) or EmbeddedProxy(app, **_),
    )
    with override_settings(DEBUG=debug, ASGI_APPLICATION=f"{__name__}.application"):
        handler(**options)
    assert isinstance(wrapped[0], ASGIStaticFilesHandler) == static
    assert (wrapped[0] is application) == (not static)


def test_nogrip_leaves_everything_to_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(DjangoRunserver, "inner_run", lambda self, *args, **options: ran.append(self))
    call("--nogrip")
    call()
    assert [made.server_cls for made in ran] == [DjangoRunserver.server_cls, DevelopmentServer]
    with override_settings(WSGI_APPLICATION=None, DEBUG=False):
        assert isinstance(handler(use_grip=False), WSGIHandler)


def call(*arguments: str) -> None:
    """Run the command in this process, which must not be started again by the autoreloader."""
    made = runserver.make_command(StaticRunserver)()
    with override_settings(ASGI_APPLICATION=f"{__name__}.application"):
        call_command(made, "0", "--noreload", *arguments, skip_checks=True)


def test_without_uvicorn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(CommandError, match=re.escape('pip install "grip-consumers[server]"')):
        call()


def test_without_an_asgi_application_the_error_says_what_to_set() -> None:
    made = runserver.make_command(StaticRunserver)()
    with (
        override_settings(ASGI_APPLICATION=None),
        pytest.raises(CommandError, match=r"settings\.ASGI_APPLICATION"),
    ):
        call_command(made, "0", "--noreload")
