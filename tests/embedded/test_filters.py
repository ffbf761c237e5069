from __future__ import annotations

from typing import Any

import pytest

from grip_consumers.embedded.filters import FilterError, passes, rendered, rendered_initial

ALL = ("skip-self", "skip-users", "require-sub")


@pytest.mark.parametrize(
    ("filters", "user", "meta", "expected"),
    [
        (ALL, "joe", {}, True),
        (ALL, "joe", {"sender": "joe"}, False),
        (ALL, "joe", {"sender": "ann"}, True),
        (ALL, "joe", {"skip_users": "ann, joe"}, False),
        (ALL, "joe", {"skip_users": "joey"}, True),
        (ALL, None, {"sender": "", "skip_users": ""}, True),
        (ALL, "joe", {"require_sub": "here"}, True),
        (ALL, None, {"require_sub": "elsewhere"}, False),
        ((), "joe", {"sender": "joe", "skip_users": "joe", "require_sub": "elsewhere"}, True),
    ],
)
def test_an_item_goes_to_whom_no_filter_leaves_out(filters: Any, user: Any, meta: Any, expected: bool) -> None:
    assert passes(filters, user, meta, {"here"}) is expected


@pytest.mark.parametrize(
    ("content", "filters", "meta", "expected"),
    [
        (b"%I", [], {}, b"%I"),
        (b"%I %%I \xff", ["skip-self", "build-id"], {"id_format": "a:%(a)s 100%%"}, b"a:1 100% %I \xff"),
        (b"%I %(x)I", ["build-id"], {"id_format": "%(a)s", "id_encoding": "hex"}, b"31 78"),
        (b"%(n)s%%", ["var-subst"], {"n": "jo%I"}, b"jo%I%"),
        (b"%%I %%(n)s", ["build-id", "var-subst"], {"id_format": "", "n": "joe"}, None),
    ],
    ids=["no filter", "id", "hex", "variable", "one after the other"],
)
def test_content_filters_write_values_into_content(content: Any, filters: Any, meta: Any, expected: Any) -> None:
    if expected is None:
        with pytest.raises(FilterError):
            rendered(content, filters, meta, {"a": "1"})
    else:
        assert rendered(content, filters, meta, {"a": "1"}) == expected


@pytest.mark.parametrize(
    ("content", "name", "meta", "ids"),
    [
        (b"%d", "build-id", {"id_format": ""}, {"a": "1"}),
        (b"100%", "build-id", {"id_format": ""}, {"a": "1"}),
        (b"%I", "build-id", {}, {"a": "1"}),
        (b"%I", "build-id", {"id_format": "%(b)s"}, {"a": "1"}),
        (b"%I", "build-id", {"id_format": "%(a)s"}, {"a": None}),
        (b"%I", "build-id", {"id_format": "%s"}, {"a": "1"}),
        (b"%I", "build-id", {"id_format": "", "id_encoding": "base64"}, {"a": "1"}),
        (b"%(n)s", "var-subst", {}, {}),
        (b"%s", "var-subst", {"n": "1"}, {}),
    ],
)
def test_what_cannot_be_rendered_is_an_error(content: Any, name: str, meta: Any, ids: Any) -> None:
    with pytest.raises(FilterError, match="expected"):
        rendered(content, [name], meta, ids)


def test_a_responses_own_body_knows_no_id_and_no_variable() -> None:
    meta = {"id_format": "%(a)s", "n": "joe"}
    assert rendered_initial(b"%(own)I %%", ["build-id"], meta) == b"own %"
    assert rendered_initial(b"%(n)s", ["var-subst"], meta) == b"%(n)s"
    with pytest.raises(FilterError, match="has no id"):
        rendered_initial(b"%I", ["build-id"], meta)
