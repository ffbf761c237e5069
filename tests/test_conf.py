from __future__ import annotations

import base64
import copy
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from grip_consumers import conf
from grip_consumers.conf import Proxy

SECRET = "pa55word"


def proxies(**settings: Any) -> tuple[Proxy, ...] | None:
    with override_settings(**settings):
        return conf.get().proxies


def test_the_defaults_are_filled_in() -> None:
    settings = conf.get()
    assert (settings.proxies, settings.prefix, settings.proxy_required, settings.debug) == (None, "", False, False)
    assert (settings.state_inline_limit, settings.state_cache, settings.state_timeout) == (3_000, "default", 86_400)
    assert (settings.subscription_limit, settings.publish_timeout) == (20, 5.0)
    assert (settings.mailbox, settings.mailbox_alias) == ("", "default")


def test_every_setting_is_read() -> None:
    changed = {
        "GRIP_PROXY_REQUIRED": True,
        "GRIP_PREFIX": "p-",
        "GRIP_PUBLISH_TIMEOUT": 0.5,
        "GRIP_SUBSCRIPTION_LIMIT": 0,
        "GRIP_BATCH_MAX_EVENTS": 1,
        "GRIP_BATCH_MAX_SIZE": 2,
        "GRIP_STATE_INLINE_LIMIT": 0,
        "GRIP_HEARTBEAT": 0,
        "GRIP_STATE_CACHE": "c",
        "GRIP_STATE_TIMEOUT": 4,
        "GRIP_MAILBOX": "memory",
        "GRIP_MAILBOX_ALIAS": "m",
    }
    with override_settings(**changed):
        settings = conf.get()
    assert {getattr(settings, name.removeprefix("GRIP_").lower()) == value for name, value in changed.items()} == {True}


def test_settings_are_read_once_and_again_when_one_is_overridden(settings: Any) -> None:
    assert conf.get() is conf.get()
    settings.GRIP_PREFIX = "a"
    assert conf.get().prefix == "a"
    with override_settings(GRIP_PREFIX="b", DEBUG=True, SECRET_KEY="s", SECRET_KEY_FALLBACKS=["older"]):
        assert (conf.get().prefix, conf.get().debug, conf.get().secrets) == ("b", True, ("s", "older"))
    assert (conf.get().prefix, conf.get().debug) == ("a", False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GRIP_PREFIX", 5, "str, not int: 5"),
        ("GRIP_PROXY_REQUIRED", "yes", "bool, not str: 'yes'"),
        ("GRIP_PUBLISH_TIMEOUT", "5", "int or float, not str: '5'"),
        ("GRIP_PUBLISH_TIMEOUT", True, "int or float, not bool: True"),
        ("GRIP_STATE_TIMEOUT", None, "int, not NoneType: None"),
        ("GRIP_STATE_INLINE_LIMIT", False, "int, not bool: False"),
        ("GRIP_MAILBOX", None, "str, not NoneType: None"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_setting(name: str, value: Any, expected: str) -> None:
    with override_settings(**{name: value}), pytest.raises(ImproperlyConfigured, match=f"{name} must be of type "):
        conf.get()
    with override_settings(**{name: value}), pytest.raises(ImproperlyConfigured) as caught:
        conf.get()
    assert str(caught.value).endswith(f"{expected}.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("GRIP_PUBLISH_TIMEOUT", 0), ("GRIP_PUBLISH_TIMEOUT", -0.1), ("GRIP_PUBLISH_TIMEOUT", float("nan"))),
        *(("GRIP_STATE_TIMEOUT", 0), ("GRIP_STATE_INLINE_LIMIT", -1), ("GRIP_BATCH_MAX_SIZE", 0)),
    ],
)
def test_a_number_that_makes_no_sense_is_named_with_its_setting(name: str, value: Any) -> None:
    with override_settings(**{name: value}), pytest.raises(ImproperlyConfigured, match=f"{name} must be over 0"):
        conf.get()


def test_grip_url_is_read_as_every_grip_library_does() -> None:
    (proxy,) = proxies(GRIP_URL="https://h:1/base/?iss=me&key=k&verify-iss=them&verify-key=v&x=1") or ()
    assert proxy == Proxy("https://h:1/base?x=1", "me", "k", "v", "them")
    assert proxy.publish_url == "https://h:1/base/publish/?x=1"
    assert proxy.name == "https://h:1/base"


def test_a_key_in_grip_url_may_be_in_base64() -> None:
    key = bytes(range(240, 256))
    encoded = base64.b64encode(key).decode()
    assert "+" in encoded
    (proxy,) = proxies(GRIP_URL=f"http://h?key=base64:{encoded}&verify-key=base64:{encoded}") or ()
    assert (proxy.key, proxy.verify_key) == (key, key)


def test_a_key_in_grip_proxies_may_be_in_base64() -> None:
    entry = {"control_uri": "http://h", "key": "base64:AAE=", "verify_key": b"base64:AAE="}
    (proxy,) = proxies(GRIP_PROXIES=[entry]) or ()
    assert (proxy.key, proxy.verify_key) == (b"\x00\x01", b"base64:AAE=")
    assert (proxies(GRIP_PROXIES=[{"control_uri": "http://h"}], GRIP_VERIFY_KEY="base64:AAE=") or ())[
        0
    ].verify_key == b"\x00\x01"


@pytest.mark.parametrize(
    ("entry", "fallback", "verify_key"),
    [
        ({}, None, None),
        ({"key": "k"}, None, "k"),
        ({"key": "k"}, "f", "f"),
        ({"key": "k", "verify_key": "v"}, "f", "v"),
        ({"key": "k", "verify_key": ""}, None, "k"),
    ],
)
def test_a_proxy_verifies_with_its_own_key_then_the_common_one_then_that_of_publishing(
    entry: dict[str, Any], fallback: str | None, verify_key: str | None
) -> None:
    (proxy,) = proxies(GRIP_PROXIES=[{"control_uri": "http://h", **entry}], GRIP_VERIFY_KEY=fallback) or ()
    assert proxy.verify_key == verify_key


def test_both_settings_together_give_all_proxies_and_change_neither() -> None:
    entries = [{"control_uri": "http://a", "key": "k"}]
    before = copy.deepcopy(entries)
    with override_settings(GRIP_PROXIES=entries, GRIP_URL="http://b"):
        for _ in range(3):
            conf._read.cache_clear()
            assert [proxy.name for proxy in conf.get().proxies or ()] == ["http://a", "http://b"]
    assert entries == before


def test_an_empty_list_is_not_the_same_as_nothing() -> None:
    assert proxies(GRIP_PROXIES=[]) == ()
    assert proxies(GRIP_URL="") is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"GRIP_PROXIES": "http://h"}, "GRIP_PROXIES must be a list of dicts, not str"),
        ({"GRIP_PROXIES": {"control_uri": "x"}}, "GRIP_PROXIES must be a list of dicts, not dict"),
        ({"GRIP_PROXIES": ["http://h"]}, r"GRIP_PROXIES\[0\] must be a dict with at least 'control_uri'"),
        ({"GRIP_PROXIES": [{"control_zmq_uri": SECRET}]}, r"not one with control_zmq_uri; publishing by ZeroMQ is"),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "kee": SECRET}]}, r"GRIP_PROXIES\[0\] has unknown keys: kee\."),
        ({"GRIP_PROXIES": [{"control_uri": 5}]}, r"GRIP_PROXIES\[0\]: the control URI must be an http\(s\) URL"),
        ({"GRIP_PROXIES": [{"control_uri": f"http://u:{SECRET}@h:port"}]}, r"GRIP_PROXIES\[0\]: the control URI"),
        ({"GRIP_PROXIES": [{"control_uri": f"http://u:{SECRET}@[h"}]}, r"GRIP_PROXIES\[0\]: the control URI"),
        (
            {"GRIP_PROXIES": [{"control_uri": "http://h"}, {"control_uri": "tcp://h"}]},
            r"GRIP_PROXIES\[1\]: the control",
        ),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "key": 5}]}, r"\['key'\] must be a str or bytes, not int"),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "control_iss": b"x"}]}, r"\['control_iss'\] must be a str"),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "verify_iss": 1}]}, r"\['verify_iss'\] must be a str"),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "key": f"base64:{SECRET}!"}]}, r"\['key'\] is not valid base64"),
        ({"GRIP_PROXIES": [{"control_uri": "http://h", "control_zmq_uri": 5}]}, r"\['control_zmq_uri'\] must be a str"),
        ({"GRIP_URL": b"http://h"}, "GRIP_URL must be a str, .*, not bytes"),
        ({"GRIP_URL": f"ftp://h?key={SECRET}"}, r"GRIP_URL: the control URI must be an http\(s\) URL, such as"),
        ({"GRIP_URL": f"h?key={SECRET}"}, "GRIP_URL: the control URI"),
        ({"GRIP_URL": f"http://h?key=base64:{SECRET}a"}, "GRIP_URL must be a URL"),
        ({"GRIP_URL": "http://h", "GRIP_VERIFY_KEY": ["x"]}, "GRIP_VERIFY_KEY must be a str or bytes, not list"),
    ],
)
def test_a_wrong_proxy_is_named_with_its_setting_and_without_its_key(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=expected) as caught:
        proxies(**settings)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"control_uri": "http://h:5561", "control_zmq_uri": "tcp://other:1"}, "tcp://other:1"),
        ({"control_uri": "https://h", "control_zmq_uri": "ipc:///run/pushpin/command"}, "ipc:///run/pushpin/command"),
        ({"control_uri": "http://user:pw@h:5561/base?x=1"}, "tcp://h:5563"),
        ({"control_uri": "http://[::1]:5561"}, "tcp://[::1]:5563"),
        ({"control_uri": "http://h:5561", "control_zmq_uri": ""}, "tcp://h:5563"),
        ({"control_uri": "http://h"}, None),
        ({"control_uri": "https://h:5561"}, None),
        ({"control_uri": "http://h:65535"}, None),
    ],
)
def test_a_command_socket_that_is_not_named_is_guessed_from_the_control_port(
    entry: dict[str, Any], expected: str | None
) -> None:
    (proxy,) = proxies(GRIP_PROXIES=[entry]) or ()
    assert proxy.command_uri == expected
    assert proxy.control_zmq_uri == (entry.get("control_zmq_uri") or None)


@pytest.mark.parametrize("uri", ["127.0.0.1:5563", "http://h:5563", "tcp://h", "tcp://h:x", "tcp://:5563", "ipc://"])
def test_a_command_socket_at_no_address_is_named_with_its_setting(uri: str) -> None:
    expected = r"GRIP_PROXIES\[0\]\['control_zmq_uri'\] must be the address of Pushpin's command socket"
    with pytest.raises(ImproperlyConfigured, match=expected) as caught:
        proxies(GRIP_PROXIES=[{"control_uri": "http://h", "control_zmq_uri": uri}])
    assert repr(uri) in str(caught.value)


FASTLY = "https://api.fastly.com/service/abc"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"GRIP_URL": f"{FASTLY}?key={SECRET}"}, "verify_key"),
        ({"GRIP_URL": f"{FASTLY}?key={SECRET}&verify-iss=fastly:abc"}, "verify_key"),
        ({"GRIP_URL": f"{FASTLY}?key={SECRET}&verify-key=pub"}, "verify_iss to 'fastly:<service-id>'"),
        ({"GRIP_PROXIES": [{"control_uri": FASTLY, "key": SECRET}], "GRIP_VERIFY_KEY": "pub"}, "verify_iss"),
        ({"GRIP_URL": "https://API.FASTLY.COM/service/abc?verify-key=pub"}, "verify_iss"),
    ],
)
def test_fastly_needs_both_a_public_key_and_an_issuer(settings: dict[str, Any], missing: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"is Fastly Fanout.*set {missing}") as caught:
        proxies(**settings)
    assert SECRET not in str(caught.value)


def test_fastly_with_both_is_accepted() -> None:
    for settings in (
        {"GRIP_URL": f"{FASTLY}?key=k&verify-iss=fastly:abc&verify-key=pub"},
        {"GRIP_URL": f"{FASTLY}?key=k&verify-iss=fastly:abc", "GRIP_VERIFY_KEY": "pub"},
    ):
        (proxy,) = proxies(**settings) or ()
        assert (proxy.verify_iss, proxy.verify_key, proxy.key) == ("fastly:abc", "pub", "k")


@pytest.mark.parametrize("host", ["notfastly.com", "fastly.com.example.org", "127.0.0.1"])
def test_another_host_is_not_taken_for_fastly(host: str) -> None:
    assert len(proxies(GRIP_URL=f"https://{host}/?key=k") or ()) == 1


def test_neither_the_name_nor_the_repr_of_a_proxy_shows_a_secret() -> None:
    proxy = Proxy(f"http://user:{SECRET}@h:1/p/?token={SECRET}", "iss", SECRET, SECRET.encode(), "v")
    assert proxy.name == "http://h:1/p/"
    assert SECRET not in repr(Proxy("http://h", "iss", SECRET, SECRET.encode()))
    with override_settings(SECRET_KEY=SECRET):
        assert SECRET not in repr(conf.get())


def test_the_servers_of_older_releases_are_published_to() -> None:
    found = proxies(
        GRIP_PROXIES=[{"control_uri": "http://a:1", "key": "k"}],
        PUBLISH_SERVERS=[
            {"uri": "http://a:1", "key": "k"},
            {"uri": "https://b/realm", "iss": "realm", "key": "base64:QUJD"},
        ],
    )
    assert found is not None
    assert [(proxy.control_uri, proxy.control_iss, proxy.key) for proxy in found] == [
        ("http://a:1", None, "k"),
        ("https://b/realm", "realm", b"ABC"),
    ]
    assert len(proxies(PUBLISH_SERVERS=[{"uri": "http://a:1"}]) or ()) == 1


@pytest.mark.parametrize(
    "entry", [{}, {"uri": "http://a", "port": 1}, {"control_uri": "http://a"}, "http://a", {"uri": 5}]
)
def test_a_server_that_is_none_is_refused(entry: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"PUBLISH_SERVERS\[0\]"):
        proxies(PUBLISH_SERVERS=[entry])
