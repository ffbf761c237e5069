"""Publishing to channels by name, with the API of django-grip and gripcontrol's GripPubControl.

Formats are gripcontrol's own objects, known by their methods `name()` and `export()`, or messages of
`grip_consumers.protocol`. It goes out through `grip_consumers.publisher`, as everything does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grip_consumers import conf, publisher
from grip_consumers.protocol import HeldResponse, Item, Message, OtherMessage, StreamChunk

__all__ = ["PubControl", "get_pubcontrol", "publish"]

Callback = Callable[[bool, str], Any]


def publish(
    channel: str,
    formats: Any,
    id: str | None = None,  # noqa: A002 - the original's name
    prev_id: str | None = None,
    blocking: bool = False,
    callback: Callback | None = None,
    meta: Mapping[str, str] | None = None,
) -> None:
    """Publish to a channel, with GRIP_PREFIX in front.

    Args:
        channel: its name.
        formats: one format or several: gripcontrol's, or messages of `grip_consumers.protocol`.
        id: an identifier of the item. A proxy delivers an id once within a minute.
        prev_id: the identifier of the item before, for subscribers that must not miss one.
        blocking: wait until all proxies have it. Else it is delivered by a thread, in the order of the calls.
        callback: called with `(True, "")` or `(False, reason)` when that is done. Without waiting only, as there an
            exception says the same.
        meta: what filters compare, such as `{"skip_users": "a,b"}`.

    Raises:
        PublishError: with `blocking`, a proxy did not take it; else that is logged.
        LocalProtocolError: it cannot be sent, a channel name with a line break for example (a ValueError).
        ImproperlyConfigured: no proxy is configured.
    """
    _publish(conf.get().prefix + channel, _item(formats, id, prev_id, meta), blocking, callback)


def _publish(channel: str, parts: dict[str, Any], blocking: bool, callback: Callback | None) -> None:
    item = Item(channel, **parts)
    if blocking:
        publisher.publish([item])
        return
    publisher.submit([item], None if callback is None else _reporter(callback))


def _reporter(callback: Callback) -> Callable[[Mapping[str, str]], None]:
    def report(failures: Mapping[str, str]) -> None:
        callback(not failures, "; ".join(f"{name}: {reason}" for name, reason in failures.items()))

    return report


def _item(formats: Any, id_: Any, prev_id: Any, meta: Mapping[str, str] | None) -> dict[str, Any]:
    several = formats if isinstance(formats, (list, tuple)) else [formats]
    return {
        "message": [_message(found) for found in several],
        "id": None if id_ is None or id_ == "" else str(id_),
        "prev_id": None if prev_id is None or prev_id == "" else str(prev_id),
        "meta": dict(meta or {}),
    }


def _message(found: Any) -> Message:
    if isinstance(found, Message):
        return found
    name, export = getattr(found, "name", None), getattr(found, "export", None)
    if not callable(name) or not callable(export):
        raise TypeError(
            "expected a format with name() and export(), such as gripcontrol.HttpStreamFormat, or a message of "
            f"grip_consumers.protocol, got {type(found).__name__}"
        )
    content = _text(export())
    return OtherMessage(name(), _answer(content) if name() == HeldResponse.format else content)


def _text(value: Any) -> Any:
    """Bytes as the text that they are: gripcontrol leaves base64 so."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {_text(key): _text(item) for key, item in value.items()}
    return [_text(item) for item in value] if isinstance(value, (list, tuple)) else value


def _answer(content: dict[str, Any]) -> dict[str, Any]:
    """An answer with a status: django-grip's README gives the body where the status stands.

    A text there is the body where there is none, "42" as well. A proxy would send what is no number to the client as
    `HTTP/1.1 0 Undefined Reason`.
    """
    code = content.get("code", 200)
    if isinstance(code, str):
        if not (content.get("body") or "body-bin" in content):
            return {**content, "code": 200, "body": code}
        if not code.isdecimal():
            raise ValueError(f"expected a status from 200 to 599 as the code of a response, got {code!r:.60}")
    return content if "action" in content else {**content, "code": int(code)}


def get_pubcontrol() -> PubControl:
    """What publishes to all proxies of the settings, with the methods of gripcontrol's GripPubControl."""
    return PubControl()


class PubControl:
    """Publishes by full channel names: without GRIP_PREFIX. Its methods are those of gripcontrol's GripPubControl."""

    def publish(self, channel: str, item: Any, blocking: bool = False, callback: Callback | None = None) -> None:
        """Publish an item: pubcontrol's, with `formats`, `id`, `prev_id` and `meta`. Raises as `publish`."""
        parts = _item(item.formats, item.id, item.prev_id, getattr(item, "meta", None))
        _publish(channel, parts, blocking, callback)

    def publish_http_response(
        self,
        channel: str,
        http_response: Any,
        id: str | None = None,  # noqa: A002
        prev_id: str | None = None,
        blocking: bool = False,
        callback: Callback | None = None,
    ) -> None:
        """Answer the requests that are held for the channel: with a format, or a 200 with that body."""
        if isinstance(http_response, (str, bytes)):
            http_response = HeldResponse(body=http_response)
        _publish(channel, _item(http_response, id, prev_id, None), blocking, callback)

    def publish_http_stream(
        self,
        channel: str,
        http_stream: Any,
        id: str | None = None,  # noqa: A002
        prev_id: str | None = None,
        blocking: bool = False,
        callback: Callback | None = None,
    ) -> None:
        """Send to the streams that are held for the channel: a format, or that content."""
        if isinstance(http_stream, (str, bytes)):
            http_stream = StreamChunk(http_stream)
        _publish(channel, _item(http_stream, id, prev_id, None), blocking, callback)

    def wait_all_sent(self) -> None:
        """Return when what was published without blocking before is delivered or has failed."""
        publisher.wait()

    def finish(self) -> None:
        """As `wait_all_sent`, by its older name."""
        self.wait_all_sent()

    def close(self) -> None:
        """As `wait_all_sent`: there is nothing else to close, and publishing goes on to work."""
        self.wait_all_sent()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"get_pubcontrol() has no {name!r}: its proxies are those of the settings. Make a "
            "gripcontrol.GripPubControl of your own for other ones, or for the rest of a proxy's HTTP API."
        )
