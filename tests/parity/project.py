"""The project under `site/`, as it is and migrated: the migration that the documentation promises, nothing more.

In between it is unmigrated: all its code is that of Channels, and its settings have what a proxy needs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers import environment

SITE = Path(__file__).resolve().parent / "site"
PACKAGE = "parity_site"

#: The promise: one literal search-and-replace in every file.
REPLACE = ("channels.", "grip_consumers.")
#: What the settings need besides. Each text must be found, so that this list cannot rot.
SETTINGS = [
    ('    "channels",\n', '    "grip_consumers",\n'),
    ("MIDDLEWARE = [\n", 'MIDDLEWARE = [\n    "grip_consumers.GripMiddleware",\n'),
    ('CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.InMemoryChannelLayer"}}\n', ""),
]
#: What the settings of a project need that stays with Channels, and is served by a proxy, too.
BESIDE_CHANNELS = [
    ('    "channels",\n', '    "channels",\n    "grip_consumers",\n'),
    ("MIDDLEWARE = [\n", 'MIDDLEWARE = [\n    "grip_consumers.GripMiddleware",\n'),
    ('"channels.layers.InMemoryChannelLayer"', '"grip_consumers.layers.GripChannelLayer"'),
]
_BOTH_LAYERS = (
    '{"BACKEND": "grip_consumers.layers.DualChannelLayer", '
    '"CONFIG": {"old": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}}'
)
#: And if it is still served without one, too.
BOTH_WAYS = [
    (
        '{"BACKEND": "grip_consumers.layers.GripChannelLayer"}',
        _BOTH_LAYERS,
    ),
]
#: Where the proxies are is deployment, not migration: it comes from the environment.
DEPLOYMENT = '\nimport json\n\nGRIP_PROXIES = json.loads(os.environ["GRIP_PROXIES"])\n'


def original(folder: Path) -> Path:
    """Copy the Channels project so that it can be imported from `folder` as `parity_site`."""
    shutil.copytree(SITE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def migrated(folder: Path) -> Path:
    """Copy the project and migrate it."""
    original(folder)
    for file in (folder / PACKAGE).glob("*.py"):
        file.write_text(file.read_text().replace(*REPLACE))
    settings = folder / PACKAGE / "settings.py"
    settings.write_text(migrated_settings(settings.read_text()) + DEPLOYMENT)
    return folder


def unmigrated(folder: Path, *further: tuple[str, str]) -> Path:
    """Copy the project and change nothing but its settings."""
    settings = original(folder) / PACKAGE / "settings.py"
    settings.write_text(migrated_settings(settings.read_text(), [*BESIDE_CHANNELS, *further]) + DEPLOYMENT)
    return folder


def migrated_settings(text: str, changes: Sequence[tuple[str, str]] = SETTINGS) -> str:
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"Expected {old!r} once in the settings to migrate, found it {text.count(old)} times.")
        text = text.replace(old, new)
    return text


def site_environment(folder: Path, *, grip_proxies: str = "[]") -> dict[str, str]:
    """What the site's settings read: a database and a journal of its own under `folder`."""
    (folder / "journal").mkdir(exist_ok=True)
    return {
        "DJANGO_SETTINGS_MODULE": f"{PACKAGE}.settings",
        "PARITY_DATABASE": str(folder / "db.sqlite3"),
        "PARITY_JOURNAL": str(folder / "journal"),
        "GRIP_PROXIES": grip_proxies,
    }


def create_database(folder: Path, code: Path) -> None:
    """Run the migrations of the project in `code`; the database is made under `folder`."""
    env = environment(site_environment(folder), code)
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    done = subprocess.run(command, env=env, cwd=code, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"The site's migrations failed:\n{done.stderr}")
