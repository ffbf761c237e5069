"""Where this project's embedded proxies listen.

`manage.py runserver` holds the WebSockets inside its own process. Another process of the same project (a
shell, a worker, a management command) finds it here: the embedded proxy writes its control URI to a file in a
folder of the project, and publishers read the folder. Both ends derive the key for it from SECRET_KEY, so
nothing has to be set up.

The folder lies in the system's temp directory, where everybody may write: it and its files are only believed
if they belong to this user and nobody else can write them.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

__all__ = ["ISSUER", "announce", "announced", "folder", "signing_key"]

#: Who signs Grip-Sig and publish requests where the embedded proxy is concerned.
ISSUER = "grip_consumers.embedded"

_SUFFIX = ".json"
#: Longer than any announcement; what is bigger is none.
_SIZE_MAX = 4096


def _derive(purpose: str) -> bytes:
    secret = settings.SECRET_KEY
    key = secret if isinstance(secret, bytes) else str(secret).encode()
    return hmac.new(key, f"{ISSUER}:{purpose}".encode(), hashlib.sha256).digest()


def signing_key() -> bytes:
    """Return the 32 bytes that sign Grip-Sig of the embedded proxy and publish requests to it (HS256).

    Derived from settings.SECRET_KEY; every process of a project has the same.
    """
    return _derive("signature")


def folder() -> Path:
    """Return the path of this project's folder of announcements; it need not exist.

    Named after the user and a keyed hash of what tells projects apart, so that it gives nothing away.
    """
    identity = json.dumps(
        [
            str(getattr(settings, "SETTINGS_MODULE", "")),
            str(getattr(settings, "BASE_DIR", "")),
            str(getattr(settings, "ROOT_URLCONF", "")),
        ]
    )
    tag = hmac.new(_derive("folder"), identity.encode(), hashlib.sha256).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"grip-consumers-{_user()}-{tag}"


@contextlib.contextmanager
def announce(control_uri: str) -> Iterator[None]:
    """Make a control URI known to this project's other processes for the length of a with block.

    Raises PermissionError if the folder exists and is not this user's alone.
    """
    place = folder()
    place.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(place, stat.S_ISDIR):
        raise PermissionError(
            f"Expected {place} to belong to this user and to be writable by nobody else. Remove it, or set TMPDIR."
        )
    descriptor, name = tempfile.mkstemp(prefix=f"{os.getpid()}-", suffix=".new", dir=place)
    announcement = Path(name).with_suffix(_SUFFIX)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({"control_uri": control_uri, "pid": os.getpid(), "started": _started(os.getpid())}, file)
        # Readers see the whole file or none.
        Path(name).replace(announcement)
        yield
    finally:
        Path(name).unlink(missing_ok=True)
        announcement.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()


def announced() -> list[str]:
    """Return the control URIs of this project's living embedded proxies, oldest first.

    Announcements of processes that have ended are removed; files that are not ours are ignored.
    """
    place = folder()
    if not _is_ours(place, stat.S_ISDIR):
        return []
    found = sorted(filter(None, map(_read, place.glob(f"*{_SUFFIX}"))))
    return [uri for _, uri in found]


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")


def _is_ours(path: Path, is_kind: Any) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    if not is_kind(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        # Windows: the temp directory is the user's own.
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(path: Path) -> tuple[float, str] | None:
    """Return when an announcement was made and its control URI, or None if it is not to be believed."""
    if not _is_ours(path, stat.S_ISREG):
        return None
    try:
        with path.open("rb") as file:
            written = os.fstat(file.fileno()).st_mtime
            document = json.loads(file.read(_SIZE_MAX))
        uri, pid, started = document["control_uri"], document["pid"], document["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(uri, str) or not isinstance(pid, int):
        return None
    if not _lives(pid, started):
        path.unlink(missing_ok=True)
        return None
    return written, uri


def _lives(pid: int, started: object) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It exists and belongs to somebody else: a new process with the old number.
        return False
    return _started(pid) == started


def _started(pid: int) -> str | None:
    """Return when a process began, in the kernel's ticks, or None where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19] if len(fields) > 19 else None
