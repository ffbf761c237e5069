from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import channels.security.websocket
import pytest
from django.test import override_settings

import grip_consumers.security.websocket
from grip_consumers.security.websocket import OriginValidator, WebsocketDenier

both = pytest.mark.parametrize(
    "module", [channels.security.websocket, grip_consumers.security.websocket], ids=["channels", "grip"]
)


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No channel layer, no database connection, and nothing has been refused yet."""
    for package in ("channels", "grip_consumers"):
        monkeypatch.setattr(f"{package}.db.close_old_connections", lambda: None)
    monkeypatch.setattr(grip_consumers.security.websocket, "_refusals", grip_consumers.security.websocket._Throttle())
    with override_settings(CHANNEL_LAYERS={}):
        yield


async def application(scope: Any, receive: Any, send: Any) -> str:
    return "reached"


async def connect(validator: Any, *origins: bytes, scope_type: str = "websocket") -> Any:
    """What the application answers, or what is sent to the client who is refused."""
    sent: list[dict[str, Any]] = []
    messages = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"a.example"), *((b"origin", origin) for origin in origins)]
    scope = {"type": scope_type, "path": "/", "headers": headers}
    return await asyncio.wait_for(validator(scope, receive, send), 5) or sent


REFUSED = [{"type": "websocket.close"}]

# Allowed origins, the client's, and whether it may pass.
DECISIONS: list[tuple[list[str], bytes, bool]] = [
    # Everything
    (["*"], b"http://a.example", True),
    (["*"], b"null", True),
    (["*"], b"", True),
    # A host alone
    (["a.example"], b"http://a.example", True),
    (["a.example"], b"https://a.example:8443", True),
    (["a.example"], b"http://A.EXAMPLE", True),
    (["A.example"], b"http://a.example", True),
    (["a.example"], b"http://b.example", False),
    (["a.example"], b"http://sub.a.example", False),
    (["a.example"], b"http://a.example.evil.example", False),
    (["a.example"], b"http://nota.example", False),
    (["a.example"], b"a.example", False),
    (["a.example"], b"null", False),
    (["a.example"], b"", False),
    (["a.example"], b"http://a.example:99999", True),
    (["a.example:80"], b"http://a.example", False),
    (["[::1]"], b"http://[::1]:8000", True),
    (["127.0.0.1"], b"http://127.0.0.1:8000", True),
    # Subdomains
    ([".a.example"], b"http://a.example", True),
    ([".a.example"], b"http://sub.a.example", True),
    ([".a.example"], b"http://nota.example", False),
    # A scheme and a host
    (["http://a.example"], b"http://a.example", True),
    (["http://a.example"], b"http://a.example:80", True),
    (["http://a.example"], b"https://a.example", False),
    (["http://a.example"], b"http://a.example:8000", False),
    (["https://a.example"], b"https://a.example:443", True),
    (["HTTP://A.example"], b"http://a.example", True),
    (["http://.a.example"], b"http://sub.a.example", True),
    (["http://.a.example"], b"https://sub.a.example", False),
    (["http://a.example"], b"http://b.example", False),
    (["ws://a.example"], b"ws://a.example:80", True),
    (["ws://a.example"], b"http://a.example", False),
    (["wss://a.example:443"], b"wss://a.example", True),
    # A scheme, a host and a port
    (["http://a.example:8000"], b"http://a.example:8000", True),
    (["http://a.example:8000"], b"http://a.example", False),
    (["http://a.example:80"], b"http://a.example", True),
    # Schemes without a default port
    (["app://a.example"], b"app://a.example", True),
    (["app://a.example:1"], b"app://a.example", False),
    # Several
    (["a.example", "http://b.example"], b"http://b.example", True),
    (["a.example", "http://b.example"], b"https://b.example", False),
    ([], b"http://a.example", False),
]


@both
@pytest.mark.parametrize(("allowed", "origin", "passes"), DECISIONS)
async def test_an_origin_passes_or_is_refused(module: Any, allowed: list[str], origin: bytes, passes: bool) -> None:
    answer = await connect(module.OriginValidator(application, allowed), origin)
    assert answer == ("reached" if passes else REFUSED)


@both
@pytest.mark.parametrize(("allowed", "passes"), [(["*"], True), (["a.example", "*"], True), (["a.example"], False)])
async def test_without_an_origin_only_a_star_lets_pass(module: Any, allowed: list[str], passes: bool) -> None:
    answer = await connect(module.OriginValidator(application, allowed))
    assert answer == ("reached" if passes else REFUSED)


@both
async def test_of_several_origins_the_last_counts(module: Any) -> None:
    validator = module.OriginValidator(application, ["a.example"])
    assert await connect(validator, b"http://b.example", b"http://a.example") == "reached"
    assert await connect(validator, b"http://a.example", b"http://b.example") == REFUSED


# On Channels these raise out of the application: the client is refused too, but with a traceback in the log.
@pytest.mark.parametrize("origin", [b"http://[", b"http://a.example:99999", b"http://a.example:port"])
async def test_an_impossible_origin_is_refused_without_an_error(origin: bytes) -> None:
    assert await connect(OriginValidator(application, ["http://a.example"]), origin) == REFUSED


async def test_an_impossible_origin_passes_where_everything_does() -> None:
    assert await connect(OriginValidator(application, ["*"]), b"http://[") == "reached"


async def test_a_pattern_with_an_impossible_port_is_an_error_of_the_project() -> None:
    with pytest.raises(ValueError, match="Port out of range"):
        await connect(OriginValidator(application, ["http://a.example:99999"]), b"http://a.example")


@both
async def test_only_websockets_have_an_origin_to_validate(module: Any) -> None:
    with pytest.raises(ValueError, match="OriginValidator") as caught:
        await connect(module.OriginValidator(application, ["*"]), scope_type="http")
    assert str(caught.value) == "You cannot use OriginValidator on a non-WebSocket connection"


@both
async def test_a_subclass_may_decide_otherwise(module: Any) -> None:
    class Validator(module.OriginValidator):  # type: ignore[misc]
        def validate_origin(self, parsed_origin: Any) -> bool:
            return bool(parsed_origin.hostname == "b.example")

    assert await connect(Validator(application, ["a.example"]), b"http://b.example") == "reached"


@both
async def test_the_denier_refuses(module: Any) -> None:
    assert await connect(module.WebsocketDenier()) == REFUSED


def test_the_denier_is_a_consumer_that_may_be_used_as_an_application() -> None:
    assert WebsocketDenier.as_asgi().consumer_class is WebsocketDenier  # type: ignore[attr-defined]


# ALLOWED_HOSTS


@both
@pytest.mark.parametrize(
    ("debug", "hosts", "expected"),
    [
        (False, ["a.example"], ["a.example"]),
        (False, [], []),
        (True, ["a.example"], ["a.example"]),
        (True, [], ["localhost", "127.0.0.1", "[::1]"]),
    ],
)
def test_allowed_hosts_become_allowed_origins(module: Any, debug: bool, hosts: list[str], expected: list[str]) -> None:
    with override_settings(DEBUG=debug, ALLOWED_HOSTS=hosts):
        validator = module.AllowedHostsOriginValidator(application)
    assert isinstance(validator, module.OriginValidator)
    assert validator.allowed_origins == expected
    assert validator.application is application


# The log


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "grip_consumers.security"]


async def test_a_refusal_is_logged_with_the_origin_and_what_is_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await connect(OriginValidator(application, ("a.example",)), b"http://b.example")
    (text,) = warnings(caplog)
    assert text == (
        "Refused a WebSocket with Origin 'http://b.example': allowed are ['a.example']. If it comes from a "
        "site of yours, add its host to ALLOWED_HOSTS or to the list given to OriginValidator."
    )
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_missing_origin_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    await connect(OriginValidator(application, ["a.example"]))
    assert warnings(caplog)[0].startswith("Refused a WebSocket with no Origin header: allowed are ['a.example'].")


async def test_an_origin_cannot_forge_or_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    await connect(OriginValidator(application, ["a.example"]), b"x\nERROR forged" + b"y" * 10_000)
    (text,) = warnings(caplog)
    assert "\n" not in text
    assert len(text) < 500


async def test_who_passes_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    await connect(OriginValidator(application, ["a.example"]), b"http://a.example")
    assert warnings(caplog) == []


async def test_an_origin_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Any = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(grip_consumers.security.websocket, "time", clock)
    validator = OriginValidator(application, ["a.example"])
    for seconds in (0, 1, 59, 59.9):
        clock.now = 1000.0 + seconds
        await connect(validator, b"http://b.example")
    assert len(warnings(caplog)) == 1
    await connect(validator, b"http://c.example")
    assert len(warnings(caplog)) == 2
    clock.now = 1060.0
    await connect(validator, b"http://b.example")
    assert len(warnings(caplog)) == 3


def test_the_throttle_remembers_a_bounded_number() -> None:
    throttle = grip_consumers.security.websocket._Throttle(seconds=60, size=3)
    assert [throttle.permits(str(number), 0.0) for number in range(5)] == [True, True, True, False, False]
    assert len(throttle._until) == 3
    assert not throttle.permits("0", 59.0)
    assert throttle.permits("4", 60.0)
    assert list(throttle._until) == ["4"]
