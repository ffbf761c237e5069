"""The documentation is held to the code: settings, links, names of exceptions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grip_consumers import conf, exceptions

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def settings_read() -> set[str]:
    return set(re.findall(r'"(GRIP_[A-Z_]+)"', Path(conf.__file__).read_text()))


def test_the_readme_lists_every_setting_and_no_other() -> None:
    listed = set(re.findall(r"`(GRIP_[A-Z_]+)`", (ROOT / "README.md").read_text()))
    assert listed == settings_read()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    assert set(re.findall(r"\bGRIP_[A-Z_]+\b", page.read_text())) <= settings_read()


def test_errors_that_the_documentation_names_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    named = {"PerConnectionHandler", "PublishError", "SubscriptionLimitExceeded", "UnkeepableState"}
    assert {name for name in named if f"`{name}`" in text and hasattr(exceptions, name)} == named
