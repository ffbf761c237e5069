"""The `check` command lists what is in order when it is asked by tag, and only then."""

from __future__ import annotations

import weakref

import pytest
from django.core.management import call_command

from grip_consumers import checks, registry
from grip_consumers.generic.websocket import WebsocketConsumer


class Greets(WebsocketConsumer):
    def greets(self, event):
        self.send(text_data=event["text"])


@pytest.fixture(autouse=True)
def project(settings, monkeypatch):
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet([Greets]))
    settings.ASGI_APPLICATION = "tests.batches.application"
    settings.GRIP_PROXIES = []


@pytest.mark.parametrize(("options", "listed"), [({"tags": ["grip"]}, True), ({"tags": ["urls"]}, False), ({}, False)])
def test_handlers_are_listed_when_asked_by_tag_alone(options, listed, capsys):
    call_command("check", **options)
    assert ("Greets.greets: shared" in capsys.readouterr().err) == listed


def test_nothing_stays_switched_on(capsys):
    call_command("check", tags=["grip"])
    assert checks.listing.get() is False
