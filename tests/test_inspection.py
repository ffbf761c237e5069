"""What is found in the classes of routed consumers."""

from __future__ import annotations

import threading

import pytest

from grip_consumers.consumer import SyncConsumer
from grip_consumers.generic.websocket import WebsocketConsumer
from grip_consumers.inspection import findings

from . import broken_consumers
from .batches import importable
from .broken_state import lobby


class Enters(WebsocketConsumer):
    def connect(self):
        lobby.enter(self.channel_name)


class Many(WebsocketConsumer):
    groups = ["a", "b", "c"]


class Base(WebsocketConsumer):
    visits: list[str] = []

    def note(self):
        self.visits.append("x")


class Derived(Base):
    pass


class Works(SyncConsumer):
    def resize(self, message):
        threading.Timer(1, print)


class Seats:
    def __init__(self):
        self.taken = set()

    def take(self, number):
        self.taken.add(number)


seats = Seats()


class Sits(WebsocketConsumer):
    def connect(self):
        seats.take(1)


@pytest.fixture(autouse=True)
def layers(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    return settings.CHANNEL_LAYERS


def found(*classes, limit=20):
    return [(finding.rule.name, finding.where, finding.detail) for finding in findings(classes, limit)]


def test_a_class_without_faults_has_no_findings():
    assert found(Many, broken_consumers.OrdinaryLayer) == []


def test_an_object_of_another_module_that_keeps_things_is_found():
    (finding,) = found(Enters)
    assert finding == (
        "process-state",
        "Enters",
        f"uses {__name__}.lobby, an object that fills Lobby.players",
    )


def test_an_object_of_its_own_module_that_keeps_things_is_found_once():
    detail = "uses seats, an object of its module that fills Seats.taken"
    assert found(Sits) == [("process-state", "Sits.connect", detail)]


def test_what_a_base_does_is_found_once_for_all_that_inherit_it():
    class Other(Derived):
        pass

    places = [where for rule, where, _ in found(Derived, Base, importable(Other)) if rule == "process-state"]
    assert places == ["Base.note"]


def test_groups_are_counted_by_the_limit_of_the_proxy():
    assert found(Many, limit=4) == []
    assert found(Many, limit=3) == [("too-many-groups", "Many", "joins 3 groups; its proxy serves it 2")]


def test_consumers_of_something_else_than_websockets_are_left_alone():
    assert found(Works) == []


def test_a_layer_that_cannot_be_made_is_not_this_checks_to_say(layers):
    layers["ordinary"] = {"BACKEND": "nowhere.Layer"}
    assert found(broken_consumers.OrdinaryLayer) == []


def test_an_alias_without_a_layer_is_in_order():
    assert found(broken_consumers.OrdinaryLayer) == []


def test_an_ordinary_layer_that_nobody_uses_groups_of_is_in_order(layers):
    layers["ordinary"] = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

    @importable
    class Quiet(WebsocketConsumer):
        channel_layer_alias = "ordinary"

    assert found(Quiet) == []
    (finding,) = found(broken_consumers.OrdinaryLayer)
    assert finding[0] == "ordinary-layer"


def test_classes_without_source_are_looked_at_as_far_as_they_can_be():
    made = importable(type("Made", (WebsocketConsumer,), {"groups": [str(number) for number in range(30)]}))
    (finding,) = findings([made], 20)
    assert (finding.rule.name, finding.file, finding.line) == ("too-many-groups", made.__module__, 1)
