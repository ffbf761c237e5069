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
        ("  - channels=4.0", "channels"),
        ("- daphne", "daphne"),
    ],
)
def test_a_package_of_channels_is_noted(line: str, package: str) -> None:
    (note,) = requirements.notes(f"Django\n{line}\n")
    assert (note.line, note.kind) == (2, "dependency")
    assert note.text.startswith(f"`{package}`: ")


@pytest.mark.parametrize(
    "line",
    [
        "channels:",
        "# channels",
        "django-channels-extras",
        "channels-presence==1",
        "djangochannelsrestframework",
        "x=channels",
    ],
)
def test_other_lines_are_not(line: str) -> None:
    assert list(requirements.notes(line)) == []


def test_each_package_of_a_line_is_noted() -> None:
    text = 'setup(install_requires=["channels>=4", "channels-redis", "daphne", "channels[daphne]"])'
    names = ["`channels`", "`channels-redis`", "`daphne`"]
    for in_python in (False, True):
        notes = requirements.notes(text, in_python=in_python)
        assert [note.text.split(":")[0] for note in notes] == names


@pytest.mark.parametrize("line", ["channels = 5", "daphne", "channels == x"])
def test_names_of_a_program_are_no_packages(line: str) -> None:
    assert list(requirements.notes(line, in_python=True)) == []
