"""What the system checks find, and what they let pass."""

from __future__ import annotations

import sys
import types
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.checks import run_checks
from grip_consumers.routing import ProtocolTypeRouter

from grip_consumers import checks, command_socket, inspection, refresher, registry
from grip_consumers.compatibility import RULES
from grip_consumers.exceptions import PublishError
from grip_consumers.generic.websocket import WebsocketConsumer
from grip_consumers.management.commands import runserver

from . import broken_consumers

LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
REDIS = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}}
PROXIES = [{"control_uri": "http://127.0.0.1:1"}]


class Reads(WebsocketConsumer):
    def connect(self):
        self.name = "x"
        self.accept()

    def reads(self, event):
        self.send(text_data=self.name)

    def shares(self, event):
        self.send(text_data=event["text"])


class Shares(WebsocketConsumer):
    def shares(self, event):
        self.send(text_data=event["text"])


async def pages(scope, receive, send):
    raise AssertionError("the checks call no application")


application = ProtocolTypeRouter({"http": pages})


@pytest.fixture(autouse=True)
def project(settings, monkeypatch):
    """One with proxies, a shared cache, and nothing routed."""
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    monkeypatch.setattr(registry, "_streams", weakref.WeakSet())
    settings.INSTALLED_APPS = ["grip_consumers", *(app for app in settings.INSTALLED_APPS if app != "grip_consumers")]
    settings.ASGI_APPLICATION = f"{__name__}.application"
    settings.GRIP_PROXIES = PROXIES
    settings.CACHES = REDIS
    monkeypatch.setattr(command_socket, "is_installed", lambda: True)
    return settings


def ids():
    return sorted(message.id.removeprefix("grip_consumers.") for message in run_checks(tags=[checks.TAG]))


@pytest.fixture
def listed():
    token = checks.listing.set(True)
    yield
    checks.listing.reset(token)


def test_a_shared_cache_and_a_proxy_are_in_order():
    assert ids() == []


def test_an_unshared_cache_is_warned_of_for_mailbox_and_state(project):
    project.CACHES = LOCAL
    assert ids() == ["W001", "W002"]


def test_under_runserver_alone_an_unshared_cache_will_do(project):
    project.CACHES = LOCAL
    project.GRIP_PROXIES = None
    project.DEBUG = True
    assert ids() == []


def test_without_debug_more_than_one_process_is_assumed(project):
    project.CACHES = LOCAL
    project.GRIP_PROXIES = None
    assert ids() == ["W001", "W002"]


def test_a_mailbox_in_memory_is_warned_of(project):
    project.GRIP_MAILBOX = "memory"
    assert ids() == ["W001"]


def test_a_mailbox_of_the_projects_own_is_its_own_business(project):
    project.GRIP_MAILBOX = "shop.mail.Mailbox"
    assert ids() == []


def test_a_mailbox_in_the_database_needs_its_table(project):
    project.GRIP_MAILBOX = "database"
    assert ids() == ["E001"]
    project.INSTALLED_APPS = [*project.INSTALLED_APPS, "grip_consumers.mailbox.tables"]
    assert ids() == []


def test_aliases_that_do_not_exist_are_errors(project):
    project.GRIP_MAILBOX_ALIAS = "mail"
    project.GRIP_STATE_CACHE = "state"
    assert ids() == ["E002", "E003"]


def test_handlers_that_need_callbacks_need_the_command_socket(monkeypatch):
    monkeypatch.setattr(command_socket, "is_installed", lambda: False)
    registry.register(Shares)
    assert ids() == []
    registry.register(Reads)
    assert ids() == ["W003"]


def test_without_proxies_nobody_is_asked_for_callbacks(project, monkeypatch):
    monkeypatch.setattr(command_socket, "is_installed", lambda: False)
    registry.register(Reads)
    project.GRIP_PROXIES = []
    assert ids() == []


def test_a_listing_names_each_handler_its_mode_and_why(listed, project):
    project.GRIP_PROXIES = []
    registry.register(Reads)
    registry.register(Shares)
    texts = [message.msg for message in checks.check_handlers(None)]
    assert [text.removeprefix(f"{__name__}.").split(":")[:2] for text in texts] == [
        ["Reads.reads", " per connection"],
        ["Reads.shares", " shared"],
        ["Shares.shares", " shared"],
    ]
    assert "self.name" in texts[0]


def test_a_listing_says_how_each_proxy_is_asked_for_callbacks(listed, monkeypatch):
    ways = {"http://one": refresher.COMMAND_SOCKET, "http://two": refresher.PUBLISH, "http://three": refresher.NONE}
    monkeypatch.setattr(refresher, "ways", lambda: ways)
    found = [(message.id[-4:], message.msg.partition(" ")[0]) for message in checks.check_refreshes(None)]
    assert found == [("I002", "http://one"), ("I002", "http://two"), ("W003", "http://three")]


def test_a_listing_survives_a_proxy_that_is_down(listed, monkeypatch):
    def ways():
        raise PublishError({"http://one": "refused"})

    monkeypatch.setattr(refresher, "ways", ways)
    assert [message.id for message in checks.check_refreshes(None)] == ["grip_consumers.W004"]


def test_a_project_that_routes_nothing_lists_nothing(listed, project):
    del project.ASGI_APPLICATION
    assert checks.check_handlers(None) == []


# Code of libraries ---------------------------------------------------------------------------------------------------


def in_a_library(cls, monkeypatch):
    """Have the module of a class lie among installed packages."""
    module = sys.modules[cls.__module__]
    file = module.__file__
    place = f"/srv/env/lib/python3.12/site-packages/chatty/{cls.__module__}.py"
    monkeypatch.setattr(module, "__file__", place)
    getsourcefile = inspection.inspect.getsourcefile
    monkeypatch.setattr(
        inspection.inspect,
        "getsourcefile",
        lambda it: place if getsourcefile(it) in (file, place) else getsourcefile(it),
    )


@pytest.mark.parametrize("cls", [broken_consumers.BackgroundTask, broken_consumers.UnkeepableState])
def test_whoever_uses_a_library_is_told_where_its_websockets_can_be_served(cls, monkeypatch):
    registry.register(cls)
    (own,) = checks.check_consumers(None)
    in_a_library(cls, monkeypatch)
    (message,) = checks.check_consumers(None)
    assert message.id == own.id
    assert "/site-packages/chatty/" in message.msg
    rule = next(rule for rule in RULES.values() if rule.check_id == own.id)
    assert own.hint == f"{rule.why} {rule.cure}"
    assert message.hint.startswith(
        f"{rule.why} This is in the code of the library chatty: its WebSockets need a server"
    )
    assert '"Both ways at once" in docs/migration.md' in message.hint


def test_what_the_settings_decide_can_be_kept_whatever_a_library_does(monkeypatch):
    registry.register(broken_consumers.TooManyGroups)
    in_a_library(broken_consumers.TooManyGroups, monkeypatch)
    (message,) = checks.check_consumers(None)
    assert message.hint == f"{RULES['too-many-groups'].why} {RULES['too-many-groups'].cure}"


def test_methods_of_a_library_are_counted_in_a_listing(listed, monkeypatch):
    class Ours(Reads):
        def news(self, event):
            self.send(text_data="x")

    Ours.__module__ = "shop.consumers"
    registry.register(Ours)
    in_a_library(Reads, monkeypatch)
    name = f"shop.consumers.{Ours.__qualname__}"
    texts = [message.msg for message in checks.check_handlers(None)]
    assert texts[0].startswith(f"{name}.news: shared: ")
    assert sorted(texts[1:]) == [
        f"{name}: per connection: 1 of the methods that it has from the library chatty, if events name them.",
        f"{name}: shared: 1 of the methods that it has from the library chatty, if events name them.",
    ]


# The way to the consumers --------------------------------------------------------------------------------------------


async def makes_one(scope, receive, send):
    await Shares.as_asgi()(scope, receive, send)


def test_an_application_that_leads_to_no_consumer_is_warned_of(project):
    project.ASGI_APPLICATION = f"{__name__}.makes_one"
    (message,) = checks.check_routing(None)
    assert message.id == "grip_consumers.W006"
    assert message.msg.startswith(f"Importing ASGI_APPLICATION ('{__name__}.makes_one') leads to no consumer.")
    assert 'path("ws/", ChatConsumer.as_asgi())' in message.hint


@pytest.mark.parametrize("note", [registry.register, registry.register_stream])
def test_a_class_of_either_kind_is_enough(project, note):
    project.ASGI_APPLICATION = f"{__name__}.makes_one"
    note(Shares)
    assert checks.check_routing(None) == []


def test_pages_alone_need_no_consumer(project):
    assert checks.check_routing(None) == []
    del project.ASGI_APPLICATION
    assert checks.check_routing(None) == []


def test_middleware_on_the_way_to_the_consumers_is_looked_at(project, monkeypatch):
    class Ends:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            await self.inner(scope, receive, send)
            scope.clear()

    routes = ProtocolTypeRouter({"websocket": Ends(pages)})
    monkeypatch.setattr(sys.modules[__name__], "application", routes)
    (message,) = checks.check_consumers(None)
    assert message.id == "grip_consumers.W031"
    assert "Ends.__call__ does when the inner application has returned: scope.clear()." in message.msg


# runserver -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("installed", "first"),
    [
        (["grip_consumers", "django.contrib.staticfiles"], None),
        (["grip_consumers"], None),
        (["django.contrib.contenttypes", "grip_consumers", "daphne"], None),
        (["daphne", "channels", "grip_consumers"], None),
        (["django.contrib.staticfiles", "grip_consumers"], "django.contrib.staticfiles"),
        (["daphne", "grip_consumers"], "daphne"),
        (["daphne", "django.contrib.staticfiles", "grip_consumers"], "daphne"),
        (["django.contrib.staticfiles", "channels", "grip_consumers"], "django.contrib.staticfiles"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else str(value),
)
def test_a_runserver_without_a_proxy_is_warned_of(installed, first, monkeypatch):
    # As if: installing Daphne would register a check of its own, for good.
    configs = [types.SimpleNamespace(name=name, path=Path(find_spec(name).origin).parent) for name in installed]
    monkeypatch.setattr(checks, "apps", types.SimpleNamespace(get_app_configs=lambda: configs))
    messages = checks.check_runserver(None)
    assert [message.id for message in messages] == ["grip_consumers.W005"] * (first is not None)
    for message in messages:
        assert message.msg.startswith(f"`manage.py runserver` is that of {first!r}")
        assert message.hint.startswith(f"Put 'grip_consumers' before {first!r}")


@pytest.mark.parametrize(("extends", "warned"), [(True, False), (False, True)])
def test_a_runserver_of_the_project_may_extend_ours(extends, warned, tmp_path, project, monkeypatch):
    app = "shop_that_extends" if extends else "shop_that_replaces"
    commands = tmp_path / app / "management" / "commands"
    commands.mkdir(parents=True)
    (tmp_path / app / "__init__.py").write_text("")
    base = runserver.__name__ if extends else "django.core.management.commands.runserver"
    (commands / "runserver.py").write_text(f"from {base} import Command as Base\nclass Command(Base): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    project.INSTALLED_APPS = [app, "grip_consumers"]
    assert bool(checks.check_runserver(None)) == warned


def test_a_project_without_our_app_has_its_own_runserver(project):
    project.INSTALLED_APPS = ["django.contrib.staticfiles"]
    assert checks.check_runserver(None) == []
