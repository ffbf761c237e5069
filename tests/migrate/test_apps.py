"""Which lists are lists of apps, in which of them this package has to be, and what asks for an entry."""

from __future__ import annotations

from textwrap import dedent

import pytest

from grip_consumers.migrate import apps
from grip_consumers.migrate.source import Source


def migrated(*texts: str) -> tuple[str, list[str]]:
    """The first of several files, and what is said of it."""
    sources = [Source(dedent(text), f"site/settings/{number}.py") for number, text in enumerate(texts)]
    apps.plan(sources[0], apps.gather(sources))
    return sources[0].changed_text(), [f"{note.line} {note.kind}" for note in sorted(sources[0].notes)]


OTHER_LISTS = [
    'SLACK_APPS = ["channels", "files"]',
    'MENU_APPS = ("daphne",)',
    'MENU_APPS.append("channels")',
    'if x in ("channels", "daphne"): ...',
    'A = [app for app in MENU_APPS if app != "channels"]',
]


@pytest.mark.parametrize("text", OTHER_LISTS)
def test_apps_of_something_else_stay(text: str) -> None:
    assert migrated(text, 'INSTALLED_APPS = ["channels"]') == (text, [])


LISTS = [
    'THIRD_PARTY_APPS = ["channels"]',
    'DJANGO_APPS = ["channels"]',
    'LOCAL_APPS = ["channels"]',
    'MORE_APPS = ["channels", "shop.apps.ShopConfig"]',
    'MORE_APPS = ["channels", "rest_framework"]',
    'MORE_APPS = ["channels.apps.ChannelsConfig"]',
    'MORE_APPS = ["channels"]\nINSTALLED_APPS = ["a"] + MORE_APPS',
    'REAL = ["channels"]\nSOME = REAL\nINSTALLED_APPS = [*SOME]',
    'MORE_APPS = []\nMORE_APPS.append("channels")\nINSTALLED_APPS += MORE_APPS',
    'MORE = ["channels"]\nINSTALLED_APPS.extend(MORE)',
]


@pytest.mark.parametrize("text", LISTS)
def test_parts_of_the_setting_are_found(text: str) -> None:
    assert "grip_consumers" in migrated(text)[0]


def test_parts_are_found_by_what_another_file_says() -> None:
    assert migrated('MORE_APPS = ["channels"]', "INSTALLED_APPS = MORE_APPS")[0] == 'MORE_APPS = ["grip_consumers"]'


ASKED = {
    'INSTALLED_APPS.index("channels")': 'INSTALLED_APPS.index("grip_consumers")',
    'INSTALLED_APPS.remove("channels")': 'INSTALLED_APPS.remove("grip_consumers")',
    'A = [a for a in INSTALLED_APPS if a != "channels"]': 'A = [a for a in INSTALLED_APPS if a != "grip_consumers"]',
    'A = [a for a in settings.INSTALLED_APPS if a not in ("channels", "daphne")]': (
        'A = [a for a in settings.INSTALLED_APPS if a not in ("grip_consumers", "daphne")]'
    ),
    'for a in LOCAL_APPS:\n    if a == "channels": ...': 'for a in LOCAL_APPS:\n    if a == "grip_consumers": ...',
    'x = "channels" not in THIRD_PARTY_APPS': 'x = "grip_consumers" not in THIRD_PARTY_APPS',
}


@pytest.mark.parametrize("text", ASKED)
def test_what_asks_for_the_app_is_changed(text: str) -> None:
    assert migrated(text, 'INSTALLED_APPS = ["channels"]') == (ASKED[text], [])
    assert migrated(ASKED[text], 'INSTALLED_APPS = ["grip_consumers"]') == (ASKED[text], [])


@pytest.mark.parametrize(
    "text",
    [
        'if "daphne" in INSTALLED_APPS: ...',
        'A = [a for a in INSTALLED_APPS if a != "daphne"]',
        'x = INSTALLED_APPS.index("daphne")',
    ],
)
def test_what_asks_for_daphne_is_noted(text: str) -> None:
    assert migrated(text, 'INSTALLED_APPS = ["channels"]') == (text, ["1 by-hand"])


@pytest.mark.parametrize(
    "text", ['d["channels"] in INSTALLED_APPS', 'f("channels") in INSTALLED_APPS', '[a for a in B if a != "channels"]']
)
def test_what_asks_for_something_else_stays(text: str) -> None:
    assert migrated(text, 'INSTALLED_APPS = ["channels"]') == (text, [])


STATIC = '"django.contrib.staticfiles"'

#: The package's entry leaves one list for the other, which has Django's runserver.
MOVED = {
    f'DJANGO_APPS = ["daphne", {STATIC}]\nTHIRD_APPS = ["channels"]\nINSTALLED_APPS = DJANGO_APPS + THIRD_APPS': (
        f'DJANGO_APPS = ["grip_consumers", {STATIC}]\nTHIRD_APPS = []\nINSTALLED_APPS = DJANGO_APPS + THIRD_APPS'
    ),
    f"DJANGO_APPS = [{STATIC}]\nLOCAL_APPS = ['channels', 'a']\nINSTALLED_APPS = [*DJANGO_APPS, *LOCAL_APPS]": (
        f"DJANGO_APPS = [\"grip_consumers\", {STATIC}]\nLOCAL_APPS = ['a']\n"
        "INSTALLED_APPS = [*DJANGO_APPS, *LOCAL_APPS]"
    ),
    f'DJANGO_APPS = ["a", {STATIC}, "daphne"]\nINSTALLED_APPS = list(DJANGO_APPS) + ["channels"]': (
        f'DJANGO_APPS = ["a", "grip_consumers", {STATIC}]\nINSTALLED_APPS = list(DJANGO_APPS) + []'
    ),
    f'DJANGO_APPS = [{STATIC}]\nINSTALLED_APPS = ["a", *DJANGO_APPS, "channels"]': (
        f'DJANGO_APPS = ["grip_consumers", {STATIC}]\nINSTALLED_APPS = ["a", *DJANGO_APPS]'
    ),
    f'class A:\n    B_APPS = [{STATIC}]\n    INSTALLED_APPS = B_APPS + ["channels"]': (
        f'class A:\n    B_APPS = ["grip_consumers", {STATIC}]\n    INSTALLED_APPS = B_APPS + []'
    ),
}


@pytest.mark.parametrize("text", MOVED)
def test_the_entry_goes_where_it_comes_before_djangos_runserver(text: str) -> None:
    after, notes = migrated(text)
    assert after == MOVED[text]
    assert notes == (["1 daphne"] if "daphne" in text else [])


@pytest.mark.parametrize("text", MOVED.values())
def test_an_entry_before_djangos_runserver_stays(text: str) -> None:
    assert migrated(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        f'DJANGO_APPS = [{STATIC}]\nMY_APPS = ["grip_consumers"]\nINSTALLED_APPS = MY_APPS + DJANGO_APPS',
        f'DJANGO_APPS = [{STATIC}]\nINSTALLED_APPS = ["grip_consumers", *DJANGO_APPS]',
    ],
)
def test_a_list_that_comes_first_keeps_its_entry(text: str) -> None:
    assert migrated(text) == (text, [])


#: Lists that are not put together in one place, or under a condition.
APART = {
    f'INSTALLED_APPS = [{STATIC}]\nINSTALLED_APPS += ["grip_consumers"]': "2 by-hand",
    f'INSTALLED_APPS = [{STATIC}]\nINSTALLED_APPS.append("grip_consumers")': "2 by-hand",
    f'INSTALLED_APPS = [{STATIC}]\nif D:\n    INSTALLED_APPS = INSTALLED_APPS + ["grip_consumers"]': "3 by-hand",
    f'class A:\n    A_APPS = [{STATIC}]\nclass B(A):\n    INSTALLED_APPS = A.A_APPS + ["grip_consumers"]': "4 by-hand",
}


@pytest.mark.parametrize("text", APART)
def test_where_it_cannot_be_moved_it_is_noted(text: str) -> None:
    assert migrated(text) == (text, [APART[text]])
    assert migrated(text.replace("grip_consumers", "channels")) == (text, [APART[text]])


def test_it_is_noted_if_the_lists_are_in_two_files() -> None:
    text = 'THIRD_PARTY_APPS = ["grip_consumers"]'
    assert migrated(text, f"DJANGO_APPS = [{STATIC}]") == (text, ["1 by-hand"])
    assert migrated('INSTALLED_APPS = ["grip_consumers", *APPS]', f"APPS = [{STATIC}]")[1] == []


def test_nothing_is_noted_if_another_list_has_the_entry_in_its_place() -> None:
    text = 'INSTALLED_APPS += ["grip_consumers"]'
    assert migrated(text, f'INSTALLED_APPS = ["grip_consumers", {STATIC}]') == (text, [])
