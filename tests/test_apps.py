"""The Django application."""

from __future__ import annotations

from pathlib import Path

from django.apps import AppConfig, apps
from django.core.management import find_commands

from grip_consumers.apps import ChannelsConfig, GripConsumersConfig


def test_the_name_in_installed_apps_finds_the_configuration():
    found = apps.get_app_config("grip_consumers")
    assert type(found) is GripConsumersConfig
    assert found.name == "grip_consumers"


def test_it_has_no_models_and_so_no_migrations():
    assert list(apps.get_app_config("grip_consumers").get_models()) == []


def test_it_brings_a_runserver_command():
    found = find_commands(str(Path(apps.get_app_config("grip_consumers").path, "management")))
    assert "runserver" in found


def test_the_path_of_channels_configuration_finds_one_too():
    found = AppConfig.create("grip_consumers.apps.ChannelsConfig")
    assert type(found) is ChannelsConfig
    assert (found.name, found.label) == ("grip_consumers", "grip_consumers")
