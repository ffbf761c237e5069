"""The package itself: imports nothing, and knows its names."""

from __future__ import annotations

import subprocess
import sys

import channels
import pytest

import grip_consumers
from grip_consumers.views import GripMiddleware


def test_importing_the_package_imports_neither_django_nor_its_own_modules():
    code = (
        "import sys, grip_consumers; "
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in ('django', 'asgiref', 'grip_consumers')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "['grip_consumers']"


def test_the_middleware_is_found_where_the_setting_names_it():
    assert grip_consumers.GripMiddleware is GripMiddleware


def test_an_unknown_name_is_an_attribute_error_that_names_it():
    with pytest.raises(AttributeError, match="module 'grip_consumers' has no attribute 'nothing'"):
        grip_consumers.nothing  # noqa: B018


def test_the_default_alias_is_that_of_channels():
    assert grip_consumers.DEFAULT_CHANNEL_LAYER == channels.DEFAULT_CHANNEL_LAYER


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert grip_consumers.__version__ == version("grip-consumers")


@pytest.mark.parametrize("name", sorted(grip_consumers._VIEW_NAMES))
def test_the_view_style_names_are_found_at_the_root(name):
    found = getattr(grip_consumers, name)
    assert found.__name__ == name
    assert name in dir(grip_consumers)
