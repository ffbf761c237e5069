"""Lines that ask for packages of Channels."""

from __future__ import annotations

import pytest

from grip_consumers.migrate import requirements


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("channels", "channels"),
        ("channels==4.1.0", "channels"),
        ("Channels[daphne] >= 4 ; python_version > '3'", "channels"),
        ("channels_redis~=4.2", "channels-redis"),
        ("daphne  # the server", "daphne"),
        ('dependencies = ["Django", "channels>=4"]', "channels"),
        ("    'daphne',", "daphne"),
        ('channels = "^4"', "channels"),
    ],
)
def test_a_package_of_channels_is_noted(line: str, package: str) -> None:
    (note,) = requirements.notes(f"Django\n{line}\n")
    assert (note.line, note.kind) == (2, "dependency")
    assert note.text.startswith(f"`{package}`: ")


@pytest.mark.parametrize(
    "line",
    ["# channels", "django-channels-extras", "channels-presence==1", "djangochannelsrestframework", "x=channels"],
)
def test_other_lines_are_not(line: str) -> None:
    assert list(requirements.notes(line)) == []
