from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_consumers.naming import (
    group_channel,
    group_log,
    is_connection,
    joining_log,
    new_channel_name,
    private_channel,
    private_log,
    stream_channel,
    stream_log,
    user_of,
)

CONSUMER = "chat.consumers:ChatConsumer"
STREAM = "UY-1KEm6NI1B-9yd"


def test_a_channel_says_group_and_class() -> None:
    assert re.fullmatch(r"p-lobby!ChatConsumer-[0-9a-f]{8}", group_channel("p-", "lobby", CONSUMER))


def test_a_channel_is_the_same_in_every_process() -> None:
    assert group_channel("", "lobby", CONSUMER) == "lobby!ChatConsumer-8db5da34"


def test_classes_of_one_name_have_channels_of_their_own() -> None:
    names = [CONSUMER, "other.consumers:ChatConsumer", "chat.consumers:Outer.ChatConsumer", "chat.consumers:Chat"]
    assert len({group_channel("", "lobby", name) for name in names}) == len(names)


@given(st.lists(st.tuples(st.text(max_size=6), st.sampled_from([CONSUMER, "a:B", "a:B!"])), unique=True, max_size=5))
def test_no_two_groups_share_a_channel(groups: list[tuple[str, str]]) -> None:
    groups = [(group, cls) for group, cls in groups if group.isprintable()]
    assert len({group_channel("p", *pair) for pair in groups}) == len(groups)


@pytest.mark.parametrize("group", ["a b", "é", "a/b", "a!b", "a\nb", "%41", "a,b"])
def test_a_group_with_odd_characters_gives_a_plain_channel(group: str) -> None:
    assert re.fullmatch(r"[\w.~%-]+![\w-]+", group_channel("", group, "a:Bé"), re.ASCII) is None
    assert re.fullmatch(r"[\w.~%-]+![\w%-]+", group_channel("", group, "a:Bé"), re.ASCII)


def test_a_channel_name_is_nobody_else_s_and_valid_for_channels() -> None:
    names = {new_channel_name() for _ in range(1_000)}
    assert len(names) == 1_000
    assert all(re.fullmatch(r"specific\.grip![a-zA-Z]{16}|specific\.grip![a-zA-Z0-9]{16}", name) for name in names)
    assert new_channel_name("mine.").startswith("mine.grip!")


def test_a_private_channel_is_the_connections_and_no_groups() -> None:
    assert private_channel("p-", "specific.grip!abc") == "p-specific.grip!abc"
    # No group's channel has nothing but letters and digits behind its mark.
    assert re.fullmatch(r".*![a-zA-Z0-9]+", private_channel("", new_channel_name()))
    assert not re.fullmatch(r".*![a-zA-Z0-9]+", group_channel("", "specific.grip", CONSUMER))


@pytest.mark.parametrize("name", ["a b!abc", "é!abc", "a,b!abc", "a/b!abc"])
def test_an_odd_prefix_gives_a_plain_private_channel(name: str) -> None:
    assert re.fullmatch(r"[\w.~%-]+!abc", private_channel("", name), re.ASCII)


def test_a_user_is_the_random_part_of_the_name() -> None:
    name = new_channel_name("a!b.")
    assert len(user_of(name)) == 16
    assert name.endswith(f"!{user_of(name)}")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (new_channel_name(), True),
        (new_channel_name("mine."), True),
        (new_channel_name(""), True),
        ("specific.grip!abc", True),
        ("specific.inmemory!abc", False),
        ("grip", False),
        ("background-work", False),
        ("", False),
        ("!abc", False),
    ],
    ids=range(9),
)
def test_a_name_tells_whether_it_is_a_connections(name: str, found: bool) -> None:
    assert is_connection(name) is found


def test_no_two_kinds_of_logs_share_a_name() -> None:
    assert len({group_log("x"), private_log("x"), joining_log("x"), stream_log("x")}) == 4


def test_a_stream_s_channel_is_short_opaque_and_the_same_in_every_process() -> None:
    assert stream_channel("p-", "lobby", "news.views:News") == STREAM
    assert re.fullmatch(r"[A-Za-z0-9_-]{16}", STREAM)


def test_streams_that_differ_have_channels_of_their_own() -> None:
    parts = [("", "a", "v"), ("p", "a", "v"), ("", "pa", "v"), ("", "b", "v"), ("", "a", "w"), ("", "", "av")]
    assert len({stream_channel(*names) for names in parts}) == len(parts)
