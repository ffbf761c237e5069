"""Values of all kinds that the state keeps, nested in each other."""

from __future__ import annotations

import datetime
import string
from collections import Counter, OrderedDict, defaultdict, deque
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.state.kept import Checked, Colour, Level, Mode, Pair, Plain, Player, Point, Position, Rights, Slim, Status

zones = st.one_of(
    st.none(),
    st.just(datetime.timezone.utc),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]).map(ZoneInfo),
    st.integers(-86_399, 86_399).map(lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds))),
    st.just(datetime.timezone(datetime.timedelta(hours=1), "CET")),
)
names = st.text(string.ascii_letters, min_size=1, max_size=5)
numbers = st.one_of(
    st.integers(), st.integers(min_value=2**63, max_value=2**90), st.floats(allow_nan=False), st.booleans()
)
hashables: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    numbers,
    st.text(max_size=8),
    st.binary(max_size=8),
    st.complex_numbers(allow_nan=False),
    st.decimals(allow_nan=False),
    st.fractions().filter(lambda value: type(value) is Fraction),
    st.uuids(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.sampled_from([*Colour, *Level, *Status, *Plain.Nested, Rights.READ | Rights.OWN, Rights(0), Mode.A | Mode.B]),
    st.sampled_from([PurePosixPath("a/b"), PureWindowsPath("c:\\d"), PosixPath("/e"), Point, Player, len, sorted]),
    st.ip_addresses(),
    st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 5)),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.dictionaries(st.one_of(names, hashables), inner, max_size=3),
        st.dictionaries(names, inner, max_size=3).map(OrderedDict),
        st.dictionaries(names, inner, max_size=3).map(lambda value: defaultdict(list, value)),
        st.dictionaries(names, st.integers(), max_size=3).map(Counter),
        st.builds(deque, st.lists(inner, max_size=3), st.one_of(st.none(), st.integers(3, 5))),
        st.builds(Pair, inner, inner),
        st.builds(Position, inner, inner),
        st.builds(Player, names, st.lists(inner, max_size=2)),
        st.builds(Point, st.integers(), inner),
        st.builds(Slim, inner, inner),
        st.builds(Checked, st.integers()),
        st.binary(max_size=5).map(bytearray),
        st.binary(max_size=5).map(memoryview),
    )


values = st.recursive(hashables, _nested, max_leaves=12)
