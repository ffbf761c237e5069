"""What filters do with published items: who is left out, and what content becomes (GRIP, "Filters").

`skip-self`, `skip-users` and `require-sub` decide whether a subscriber gets an item. `build-id` and `var-subst` write
values of the subscription into its content: there `%I` and `%(name)s` stand for them, and `%%` for a per cent sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["CONTENT_FILTERS", "FilterError", "passes", "rendered", "rendered_initial"]

#: The filters that change content.
CONTENT_FILTERS = frozenset({"build-id", "var-subst"})

_DIRECTIVE = re.compile(rb"%(?:(%)|\(([^)]*)\)(.)|(.?))", re.DOTALL)


class FilterError(Exception):
    """Content cannot be rendered; the text says why. Pushpin ends the response."""


def passes(filters: Collection[str], user: str | None, meta: Mapping[str, str], channels: Collection[str] = ()) -> bool:
    """Whether an item with `meta` goes to a subscriber: `user` and the names of its channels."""
    if user:
        if "skip-self" in filters and meta.get("sender") == user:
            return False
        skipped = meta.get("skip_users", "")
        if "skip-users" in filters and user in {name.strip() for name in skipped.split(",")}:
            return False
    required = meta.get("require_sub", "")
    return not (required and "require-sub" in filters and required not in channels)


def rendered(content: bytes, filters: Iterable[str], meta: Mapping[str, str], ids: Mapping[str, str | None]) -> bytes:
    """Return published content as the content filters of a channel make it, in their order.

    Args:
        content: what was published.
        filters: names, others than those of content filters among them.
        meta: that of the subscription.
        ids: the last id of each channel of the subscription, this item's included.

    Raises:
        FilterError: a directive is unknown or has no value.
    """
    for name in filters:
        if name == "build-id":
            content = _processed(content, b"I", _identifiers(meta, ids))
        elif name == "var-subst":
            content = _processed(content, b"s", lambda wanted: _value(meta, wanted))
    return content


def rendered_initial(content: bytes, filters: Iterable[str], meta: Mapping[str, str]) -> bytes:
    """Return a response's own body as content filters make it: only `build-id` looks at it, and knows no id."""
    return rendered(content, ["build-id"] if "build-id" in set(filters) else [], meta, {})


def _processed(content: bytes, directive: bytes, value: Callable[[str | None], bytes]) -> bytes:
    def replaced(found: re.Match[bytes]) -> bytes:
        percent, argument, kind_with, kind = found.groups()
        if percent:
            return b"%"
        if (kind_with or kind) != directive:
            raise FilterError(f"expected %{directive.decode()} or %%, got {found[0]!r:.60}")
        return value(argument.decode() if argument is not None else None)

    return _DIRECTIVE.sub(replaced, content)


def _identifiers(meta: Mapping[str, str], ids: Mapping[str, str | None]) -> Callable[[str | None], bytes]:
    if "id_format" not in meta:
        raise FilterError("expected Grip-Set-Meta with id_format for the filter build-id")
    encoding = meta.get("id_encoding")
    if encoding not in {None, "hex"}:
        raise FilterError(f"expected the id_encoding hex or none, got {encoding!r:.60}")
    whole = _processed(meta["id_format"].encode(), b"s", lambda name: _value(ids, name)) if ids else None

    def identifier(literal: str | None) -> bytes:
        value = whole if literal is None else literal.encode()
        if value is None:
            raise FilterError("expected no %I in a response's own body, which has no id")
        return value.hex().encode() if encoding else value

    return identifier


def _value(values: Mapping[str, str | None], name: str | None) -> bytes:
    value = None if name is None else values.get(name)
    if value is None:
        raise FilterError(f"expected a value of {name!r:.60}, got none")
    return value.encode()
