from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from grip_consumers import mailbox
from grip_consumers.mailbox.cache import CacheMailbox
from grip_consumers.mailbox.database import DatabaseMailbox
from grip_consumers.mailbox.memory import MemoryMailbox
from tests.servers import ROOT, environment

REDIS = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
DUMMY = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}


class OwnMailbox(MemoryMailbox):
    """A project's own."""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CACHES": {"default": REDIS}}, CacheMailbox),
        ({"CACHES": {"default": LOCMEM}}, MemoryMailbox),
        ({"CACHES": {"default": DUMMY}}, MemoryMailbox),
        ({"CACHES": {"default": LOCMEM, "m": REDIS}, "GRIP_MAILBOX_ALIAS": "m"}, CacheMailbox),
        ({"GRIP_MAILBOX": "cache"}, CacheMailbox),
        ({"GRIP_MAILBOX": "memory", "GRIP_MAILBOX_ALIAS": "of no use"}, MemoryMailbox),
        ({"GRIP_MAILBOX": "database"}, DatabaseMailbox),
        ({"GRIP_MAILBOX": "tests.mailbox.test_init.OwnMailbox"}, OwnMailbox),
    ],
)
def test_the_mailbox_is_the_one_that_is_configured(settings: dict[str, Any], expected: type) -> None:
    with override_settings(**settings):
        assert type(mailbox.get()) is expected


def test_it_is_told_its_alias_and_the_projects_prefix() -> None:
    with override_settings(GRIP_MAILBOX="memory", GRIP_MAILBOX_ALIAS="a", GRIP_PREFIX="p-"):
        assert (mailbox.get().alias, mailbox.get().prefix) == ("a", "p-")


def test_it_stays_the_same_until_a_setting_is_overridden() -> None:
    first = mailbox.get()
    assert mailbox.get() is first
    with override_settings(GRIP_PUBLISH_TIMEOUT=1.0):
        assert mailbox.get() is first
    with override_settings(GRIP_PREFIX="other"):
        assert mailbox.get() is not first
    with override_settings(CACHES={"default": LOCMEM}):
        assert mailbox.get() is not first
    assert mailbox.get() is not first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"GRIP_MAILBOX": "redis"}, "GRIP_MAILBOX must be 'cache', 'database', 'memory', or the dotted path"),
        ({"GRIP_MAILBOX": "no.such.Class"}, "not 'no.such.Class': No module named 'no'"),
        ({"GRIP_MAILBOX": "os.path.join"}, "a subclass of grip_consumers.mailbox.Mailbox, not 'os.path.join'"),
        ({"GRIP_MAILBOX": "grip_consumers.conf.Proxy"}, "a subclass of grip_consumers.mailbox.Mailbox"),
        ({"GRIP_MAILBOX_ALIAS": "x"}, r"GRIP_MAILBOX_ALIAS must be an alias in CACHES \('default'\), not 'x'"),
        ({"GRIP_MAILBOX": "cache", "GRIP_MAILBOX_ALIAS": "x"}, "alias in CACHES"),
        ({"GRIP_MAILBOX": "database", "GRIP_MAILBOX_ALIAS": "x"}, "alias in DATABASES .*'default'.*, not 'x'"),
        ({"CACHES": {"default": {"BACKEND": "no.such.Cache"}}}, "Could not find backend 'no.such.Cache'"),
    ],
)
def test_what_is_wrong_in_the_settings_is_said(settings: dict[str, Any], message: str) -> None:
    with override_settings(**settings), pytest.raises(ImproperlyConfigured, match=message):
        mailbox.get()


def test_importing_the_backends_reads_no_setting() -> None:
    code = (
        "import django.conf, grip_consumers.mailbox\n"
        "from grip_consumers.mailbox import cache, database, memory\n"
        "print(django.conf.settings.configured)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment({}))
    assert run.stdout.strip() == "False", run.stderr
