"""Django settings, read once into frozen values: every other module asks here and nowhere else.

Nothing is read at import. The values are read again when a test overrides a setting.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

__all__ = ["Proxy", "Settings", "change", "get"]


@dataclass(frozen=True)
class Proxy:
    """One GRIP proxy: where to publish, and what its signatures are verified with.

    `control_uri` is the base of the publish endpoint, without the `/publish/` that follows it.
    """

    control_uri: str
    #: With an issuer, `key` signs a JSON Web Token (HS256) for each publish; without, it is a bearer token
    #: itself.
    control_iss: str | None = None
    key: str | bytes | None = field(default=None, repr=False)
    #: A PEM public key or a secret; None: nothing from this proxy can be verified.
    verify_key: str | bytes | None = field(default=None, repr=False)
    verify_iss: str | None = None
    #: Pushpin's command socket, `tcp://HOST:PORT` or `ipc://PATH`; None: see `command_uri`.
    control_zmq_uri: str | None = None

    @property
    def name(self) -> str:
        """The control URI without user, password and query: safe to log."""
        parts = urlsplit(self.control_uri)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    @property
    def publish_url(self) -> str:
        """Where items are posted to."""
        parts = urlsplit(self.control_uri)
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/publish/"))

    @property
    def command_uri(self) -> str | None:
        """The command socket: the one configured, or where Pushpin has it beside its control port.

        None where there is nothing to go by: no port, or TLS, which a Pushpin does not speak there.
        """
        parts = urlsplit(self.control_uri)
        port = (parts.port or 0) + _COMMAND_PORT_DISTANCE
        if self.control_zmq_uri or parts.scheme != "http" or not parts.port or port > _PORT_MAX:
            return self.control_zmq_uri
        host = parts.hostname or ""
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


#: Pushpin numbers its ports from one offset: publishing by HTTP at 5561, commands at 5563.
_COMMAND_PORT_DISTANCE = 2
_PORT_MAX = 65_535


@dataclass(frozen=True)
class Settings:
    """What the project configured, defaults filled in. Sizes are in bytes, times in seconds."""

    #: None when GRIP_URL, GRIP_PROXIES and PUBLISH_SERVERS are not set: then the project's embedded proxies are used.
    proxies: tuple[Proxy, ...] | None = None
    proxy_required: bool = False
    prefix: str = ""
    publish_timeout: float = 5.0
    subscription_limit: int = 20
    batch_max_events: int = 10_000
    batch_max_size: int = 16 * 1024 * 1024
    state_inline_limit: int = 3_000
    state_cache: str = "default"
    state_timeout: int = 86_400
    #: Empty: by what the cache `mailbox_alias` is.
    mailbox: str = ""
    mailbox_alias: str = "default"
    recheck_session: bool = False
    #: 0: no frame keeps a quiet connection open.
    heartbeat: int = 25
    #: SECRET_KEY and its fallbacks.
    secrets: tuple[str | bytes, ...] = field(default=(), repr=False)
    debug: bool = False


#: Settings of ours, by the field they fill and the type they must have.
_SIMPLE: dict[str, tuple[str, tuple[type, ...]]] = {
    "GRIP_PROXY_REQUIRED": ("proxy_required", (bool,)),
    "GRIP_PREFIX": ("prefix", (str,)),
    "GRIP_PUBLISH_TIMEOUT": ("publish_timeout", (int, float)),
    "GRIP_SUBSCRIPTION_LIMIT": ("subscription_limit", (int,)),
    "GRIP_BATCH_MAX_EVENTS": ("batch_max_events", (int,)),
    "GRIP_BATCH_MAX_SIZE": ("batch_max_size", (int,)),
    "GRIP_STATE_INLINE_LIMIT": ("state_inline_limit", (int,)),
    "GRIP_STATE_CACHE": ("state_cache", (str,)),
    "GRIP_STATE_TIMEOUT": ("state_timeout", (int,)),
    "GRIP_HEARTBEAT": ("heartbeat", (int,)),
    "GRIP_RECHECK_SESSION": ("recheck_session", (bool,)),
    "GRIP_MAILBOX": ("mailbox", (str,)),
    "GRIP_MAILBOX_ALIAS": ("mailbox_alias", (str,)),
}
#: Numbers that may be 0 as well: all state goes to the cache, no connection joins a group, nothing keeps it open.
_MAY_BE_ZERO = {"GRIP_STATE_INLINE_LIMIT", "GRIP_SUBSCRIPTION_LIMIT", "GRIP_HEARTBEAT"}

_PROXY_KEYS = {"control_uri", "control_iss", "control_zmq_uri", "key", "verify_key", "verify_iss"}


def get() -> Settings:
    """The settings of this process.

    Raises ImproperlyConfigured, naming the setting, for a value of the wrong kind.
    """
    settings = _read()
    return settings if _changed is None else _changed(settings)


#: What tests make of the project's settings.
_changed: Callable[[Settings], Settings] | None = None


def change(function: Callable[[Settings], Settings] | None) -> None:
    """Have `get` return what `function` makes of the project's settings; None ends that. For tests (`in_process`)."""
    global _changed
    _changed = function


@lru_cache(maxsize=1)
def _read() -> Settings:
    setting_changed.connect(_forget, dispatch_uid="grip_consumers.conf")
    values: dict[str, Any] = {
        "proxies": _proxies(),
        "secrets": (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS),
        "debug": bool(django_settings.DEBUG),
    }
    for name, (attribute, kinds) in _SIMPLE.items():
        if hasattr(django_settings, name):
            values[attribute] = _checked(name, getattr(django_settings, name), kinds)
    return Settings(**values)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting.startswith("GRIP_") or setting in _READ_TOO:
        _read.cache_clear()


_READ_TOO = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "DEBUG", "PUBLISH_SERVERS"})


def _checked(name: str, value: Any, kinds: tuple[type, ...]) -> Any:
    # A bool is an int to Python, which nobody means who sets a number.
    if type(value) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ImproperlyConfigured(f"{name} must be of type {expected}, not {type(value).__name__}: {value!r}.")
    if type(value) in {int, float} and not (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
        raise ImproperlyConfigured(f"{name} must be over 0: {value!r}.")
    return value


def _proxies() -> tuple[Proxy, ...] | None:
    """GRIP_PROXIES, GRIP_URL, then django-grip's older PUBLISH_SERVERS; None if none is set."""
    entries = getattr(django_settings, "GRIP_PROXIES", None)
    url = getattr(django_settings, "GRIP_URL", None)
    servers = getattr(django_settings, "PUBLISH_SERVERS", None)
    if entries is None and not url and servers is None:
        return None
    fallback = _key("GRIP_VERIFY_KEY", getattr(django_settings, "GRIP_VERIFY_KEY", None))
    proxies = [
        _from_entry(f"GRIP_PROXIES[{position}]", entry, fallback)
        for position, entry in enumerate(_entries("GRIP_PROXIES", entries))
    ]
    if url:
        proxies.append(_from_entry("GRIP_URL", _parsed(url), fallback))
    known = {proxy.control_uri for proxy in proxies}
    for position, entry in enumerate(_entries("PUBLISH_SERVERS", servers)):
        name = f"PUBLISH_SERVERS[{position}]"
        proxy = _from_entry(name, _renamed(name, entry), fallback)
        # Settings of that time name a proxy in both lists: one to verify with, one to publish to.
        if proxy.control_uri not in known:
            proxies.append(proxy)
    return tuple(proxies)


def _renamed(name: str, entry: Any) -> dict[str, Any]:
    if not isinstance(entry, Mapping) or "uri" not in entry or not set(entry) <= set(_SERVER_KEYS):
        raise ImproperlyConfigured(
            f"{name} must be a dict with 'uri' and perhaps 'iss' and 'key', not {_described(entry)}."
        )
    return {_SERVER_KEYS[key]: value for key, value in entry.items()}


_SERVER_KEYS = {"uri": "control_uri", "iss": "control_iss", "key": "key"}


def _entries(name: str, entries: Any) -> Iterable[Any]:
    if entries is None:
        return ()
    if not isinstance(entries, (list, tuple)):
        raise ImproperlyConfigured(f"{name} must be a list of dicts, not {type(entries).__name__}.")
    return entries


def _parsed(url: Any) -> Any:
    # Imported here: gripcontrol brings an HTTP client along that a process without proxies does not need.
    from gripcontrol import parse_grip_uri

    if not isinstance(url, str):
        raise ImproperlyConfigured(f"GRIP_URL must be a str, {_EXAMPLE}, not {type(url).__name__}.")
    try:
        return parse_grip_uri(url)
    except ValueError:
        # Without the error's text, which may hold a part of the key.
        raise ImproperlyConfigured(f"GRIP_URL must be a URL, {_EXAMPLE}, its keys in valid base64.") from None


_EXAMPLE = "such as 'http://127.0.0.1:5561?verify-key=changeme'"


def _from_entry(name: str, entry: Any, fallback_key: str | bytes | None) -> Proxy:
    """The proxy of one entry, which error texts call `name`."""
    if not isinstance(entry, Mapping) or "control_uri" not in entry:
        raise ImproperlyConfigured(
            f"{name} must be a dict with at least 'control_uri', not {_described(entry)}; publishing by ZeroMQ "
            "is not supported ('control_zmq_uri' is for refreshes alone)."
        )
    unknown = set(entry) - _PROXY_KEYS
    if unknown:
        raise ImproperlyConfigured(
            f"{name} has unknown keys: {', '.join(sorted(map(str, unknown)))}. "
            f"Known are {', '.join(sorted(_PROXY_KEYS))}."
        )
    key, verify_key = (_key(f"{name}[{part!r}]", entry.get(part)) for part in ("key", "verify_key"))
    proxy = Proxy(
        control_uri=_control_uri(name, entry["control_uri"]),
        control_iss=_optional_text(f"{name}['control_iss']", entry.get("control_iss")),
        key=key,
        # As django-grip: a proxy verifies with the key it publishes with, unless another is named.
        verify_key=verify_key or fallback_key or key,
        verify_iss=_optional_text(f"{name}['verify_iss']", entry.get("verify_iss")),
        control_zmq_uri=_command_uri(f"{name}['control_zmq_uri']", entry.get("control_zmq_uri")),
    )
    _check_shared_keys(name, proxy, explicit=bool(verify_key or fallback_key))
    return proxy


def _described(entry: Any) -> str:
    # Not the values: there are keys among them.
    return f"one with {', '.join(map(str, entry)) or 'nothing'}" if isinstance(entry, Mapping) else repr(type(entry))


def _control_uri(name: str, value: Any) -> str:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        # Not quoted: there may be a password in it.
        raise ImproperlyConfigured(f"{name}: the control URI must be an http(s) URL, {_EXAMPLE}.")
    return str(value)


def _command_uri(name: str, value: Any) -> str | None:
    uri = _optional_text(name, value)
    if uri is None:
        return None
    try:
        parts = urlsplit(uri)
        valid = bool(parts.hostname and parts.port) if parts.scheme == "tcp" else parts.scheme == "ipc" and len(uri) > 6
    except ValueError:
        valid = False
    if not valid:
        raise ImproperlyConfigured(
            f"{name} must be the address of Pushpin's command socket (command_spec in pushpin.conf), such as "
            f"'tcp://127.0.0.1:5563' or 'ipc:///run/pushpin/command', not {uri!r}."
        )
    return uri


def _optional_text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ImproperlyConfigured(f"{name} must be a str, not {type(value).__name__}.")
    return value or None


def _key(name: str, value: Any) -> str | bytes | None:
    """A key, freed of the prefix `base64:` that GRIP_URL and Pushpin's own configuration know."""
    if value is not None and not isinstance(value, (str, bytes)):
        raise ImproperlyConfigured(f"{name} must be a str or bytes, not {type(value).__name__}.")
    if isinstance(value, str) and value.startswith(_BASE64):
        try:
            return base64.b64decode(value.removeprefix(_BASE64), validate=True) or None
        except ValueError:
            raise ImproperlyConfigured(f"{name} is not valid base64 after the prefix {_BASE64!r}.") from None
    return value or None


_BASE64 = "base64:"


def _check_shared_keys(name: str, proxy: Proxy, *, explicit: bool) -> None:
    host = urlsplit(proxy.control_uri).hostname or ""
    if host != "fastly.com" and not host.endswith(".fastly.com"):
        return
    if not explicit:
        # The token of the API is a secret between this project and Fastly, which does not sign with it.
        raise ImproperlyConfigured(
            f"{name}: {proxy.name} is Fastly Fanout, which does not sign with the API token it is published to "
            "with: set verify_key (in GRIP_URL: &verify-key=base64:…), or GRIP_VERIFY_KEY, to its public key."
        )
    if not proxy.verify_iss:
        # Without the issuer any other customer's service could sign for this one.
        raise ImproperlyConfigured(
            f"{name}: {proxy.name} is Fastly Fanout, which signs for all of its customers with one key: set "
            "verify_iss to 'fastly:<service-id>' (in GRIP_URL: &verify-iss=fastly:<service-id>)."
        )
