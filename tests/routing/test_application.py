"""The project's application: found, or missed in Channels' words."""

from __future__ import annotations

import channels.routing
import pytest
from django.core.exceptions import ImproperlyConfigured
from grip_consumers.routing import get_default_application, websocket_application

from grip_consumers.dispatcher import NoRoute

from .. import batches


def outcome(function):
    try:
        return function()
    except ImproperlyConfigured as error:
        return str(error)


def test_the_application_of_the_setting_is_returned(settings):
    settings.ASGI_APPLICATION = "tests.batches.application"
    assert get_default_application() is batches.application


@pytest.mark.parametrize(
    "value", ["nodots", "tests.nowhere.application", "tests.batches.nothing", "", None, "tests.batches."]
)
def test_a_wrong_setting_is_told_in_channels_words(settings, value):
    settings.ASGI_APPLICATION = value
    found = outcome(get_default_application)
    assert isinstance(found, str)
    assert found == outcome(channels.routing.get_default_application)


def test_a_missing_setting_is_told_in_channels_words(settings):
    if hasattr(settings, "ASGI_APPLICATION"):
        del settings.ASGI_APPLICATION
    assert outcome(get_default_application) == "Cannot find ASGI_APPLICATION setting."
    assert outcome(channels.routing.get_default_application) == "Cannot find ASGI_APPLICATION setting."


async def test_a_project_without_the_setting_has_no_websocket_routes(settings):
    settings.ASGI_APPLICATION = None
    with pytest.raises(NoRoute):
        await websocket_application()({"path": "/"}, None, None)
