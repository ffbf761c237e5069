"""What the system checks find, and what they let pass."""

from __future__ import annotations

import weakref

import pytest
from django.core.checks import run_checks

from grip_consumers import checks, command_socket, refresher, registry
from grip_consumers.exceptions import PublishError
from grip_consumers.generic.websocket import WebsocketConsumer

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


@pytest.fixture(autouse=True)
def project(settings, monkeypatch):
    """One with proxies, a shared cache, and nothing routed."""
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    settings.ASGI_APPLICATION = "tests.batches.application"
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
