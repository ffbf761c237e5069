from __future__ import annotations

import pytest

from grip_consumers.embedded.filters import FilterError
from grip_consumers.embedded.following import Following, GapError
from grip_consumers.embedded.hub import Item
from grip_consumers.embedded.instruct import Channel


def following(*channels: Channel, **meta: str) -> Following:
    found = Following(20)
    found.change(channels, meta)
    return found


def test_a_change_names_what_is_new_and_what_is_left() -> None:
    found = Following(2)
    assert found.change([Channel("a"), Channel("b")], {}) == ({"a", "b"}, set())
    assert found.change([Channel("b", "1"), Channel("c"), Channel("d")], {}) == ({"c"}, {"a"})
    assert found.channels["b"].prev_id == "1"


def test_a_channel_with_an_id_moves_on_with_each_item_that_follows() -> None:
    found = following(Channel("a", "1"), Channel("b", "7"), Channel("c"))
    assert found.without_gaps
    assert found.takes(Item("a", id="2", prev_id="1"))
    assert found.takes(Item("c", id="5", prev_id="3"))
    assert sorted(found.last()) == [(b"grip-last", b"a; last-id=2"), (b"grip-last", b"b; last-id=7")]


@pytest.mark.parametrize("prev_id", [None, "0", "2"])
def test_an_item_that_does_not_follow_shows_a_gap_and_moves_nothing(prev_id: str | None) -> None:
    found = following(Channel("a", "1"))
    with pytest.raises(GapError):
        found.takes(Item("a", id="3", prev_id=prev_id))
    assert found.channels["a"].prev_id == "1"


def test_an_item_that_a_filter_leaves_out_moves_the_channel_on_too() -> None:
    found = following(Channel("a", "1", ("skip-self",)), user="joe")
    assert not found.takes(Item("a", id="2", prev_id="1", meta={"sender": "joe"}))
    assert found.takes(Item("a", id="3", prev_id="2"))


def test_an_item_of_a_channel_that_was_left_is_not_taken() -> None:
    found = following(Channel("a"))
    assert (found.takes(Item("b")), found.fits(Item("b"))) == (False, False)


def test_content_is_rendered_with_the_ids_of_all_channels() -> None:
    found = following(Channel("a", "1", ("build-id",)), Channel("b", "7"), id_format="%(a)s-%(b)s")
    item = Item("a", id="2", prev_id="1")
    assert found.takes(item)
    assert found.render(item, b"%I", None) == b"2-7"
    assert found.render(item, b"%I", ("build-id",)) == b"2-7"
    with pytest.raises(FilterError, match="expected the content filters"):
        found.render(item, b"%I", ())
