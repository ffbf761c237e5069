"""What handlers use beside their instance: what of it differs, and what cannot be seen through."""

from __future__ import annotations

import json
import logging
import secrets
from collections import deque

import pytest
from django.contrib.auth.models import User
from django.dispatch import Signal

from grip_consumers.layers import get_channel_layer
from grip_consumers.outside import Outside, is_harmless
from grip_consumers.readings import read

QUEUE: deque = deque()


class Own:
    pass


def _sends():
    get_channel_layer()


def _calls_what_sends():
    _sends()


def _draws():
    return secrets.token_hex()


def _keeps():
    QUEUE.append(1)


def _recurs():
    _recurs()


def _found(function):
    outside = Outside(Own)
    outside.follow(function, read(function, ""))
    return outside.difference, outside.known


@pytest.mark.parametrize(
    ("function", "difference"),
    [
        (_sends, "sends through get_channel_layer(), which each connection does once"),
        (_calls_what_sends, "sends through get_channel_layer(), which each connection does once"),
        (_draws, "uses secrets.token_hex, which gives each connection something else"),
        (_keeps, "changes QUEUE, which is kept in the process"),
        (
            lambda: User.objects.filter(pk=1).delete(),
            "writes to the database, by User.…delete(), which each connection does",
        ),
        (_recurs, ""),
        (lambda: json.dumps(1), ""),
    ],
)
def test_a_difference_is_found_through_functions_of_the_project(function, difference):
    assert _found(function)[0] == difference


def test_the_class_itself_is_known():
    assert _found(lambda: Own) == ("", True)
    assert _found(lambda: Outside) == ("", True)
    assert not _found(lambda: Unknown)[1]


class Unknown:
    pass


@pytest.mark.parametrize("value", [json, json.dumps, len, 1, "x", logging.getLogger("x"), ValueError, {}, QUEUE])
def test_plain_values_and_known_packages_are_harmless(value):
    assert is_harmless(value)


@pytest.mark.parametrize("value", [Unknown, Unknown(), User, User.objects, Signal(), _sends, object()])
def test_what_may_call_code_of_the_project_is_not(value):
    assert not is_harmless(value)
