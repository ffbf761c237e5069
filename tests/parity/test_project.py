"""The migration itself, and the list of what cannot be equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import behaviours, project
from .conftest import References
from .test_parity import DIFFERENCES, reference_transcript

BEHAVIOURS = {behaviour.name: behaviour for behaviour in behaviours.load()}


def test_the_original_knows_nothing_of_this_package() -> None:
    texts = [file.read_text() for file in project.SITE.glob("*.py")]
    assert texts
    assert not any("import grip_consumers" in text or "from grip_consumers" in text for text in texts)


def test_nothing_of_channels_is_left_after_the_migration(tmp_path: Path) -> None:
    project.migrated(tmp_path)
    files = list((tmp_path / project.PACKAGE).glob("*.py"))
    assert len(files) == len(list(project.SITE.glob("*.py")))
    for file in files:
        assert "from channels" not in file.read_text()
        assert '"channels' not in file.read_text()


def test_settings_that_the_migration_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="found it 0 times"):
        project.migrated_settings("MIDDLEWARE = []")


@pytest.mark.parametrize("name", DIFFERENCES)
async def test_a_documented_difference_is_one(name: str, references: References) -> None:
    difference = DIFFERENCES[name]
    seen = await reference_transcript(BEHAVIOURS[name], references)
    assert difference.reason
    assert any(theirs in seen for theirs, _ in difference.replaced)
