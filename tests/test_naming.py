from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_consumers.naming import group_channel, new_channel_name

CONSUMER = "chat.consumers:ChatConsumer"


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
