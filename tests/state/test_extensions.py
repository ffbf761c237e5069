from __future__ import annotations

import datetime
import ipaddress
import pathlib
import re
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import make_dataclass
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy, override

from grip_consumers.state import CannotEncode, decode, encode
from tests.state import kept
from tests.state.kept import Checked, Colour, Level, Mode, Pair, Plain, Player, Point, Rights, Slim, Status

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN)


def back(value: Any) -> Any:
    again = decode(encode(value))
    assert type(again) is type(value)
    return again


@pytest.mark.parametrize(
    "value",
    [
        *(2**64, -(2**80), 10**5_000, complex(-0.0, 2), range(1, 9, 2), ..., SafeString("<b>")),
        *(Decimal("1.50"), Decimal("-0"), Decimal("Infinity"), Decimal("1E+30"), uuid.UUID(int=7)),
        *(OrderedDict(b=1, a=2), Counter("aab"), deque([1, 2], maxlen=3), deque()),
        *(defaultdict(list, a=[1]), defaultdict(None, a=1), defaultdict(kept.factory)),
        types.SimpleNamespace(a=1, b=(2,)),
        re.compile(r"a+", re.IGNORECASE),
        *(ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")),
        *(Path("/a/b"), PurePosixPath("a"), PureWindowsPath("c:\\a"), PurePath("x")),
        *(Colour.GREEN, Level.HIGH, Status.DONE, Plain.Nested.ONE, Rights.READ | Rights.OWN, Rights(0), Mode(3)),
        *(Player, Plain.Nested, kept.factory, len, int, datetime.datetime.fromisoformat.__self__),
        *(Pair(1, [2]), Point(1, Point(2)), Slim((1,), {2}), datetime.time(1, 2, tzinfo=BERLIN)),
        *(datetime.timezone.utc, BERLIN, ZoneInfo("UTC"), datetime.timezone(datetime.timedelta(hours=2), "X")),
        MultiValueDict({"a": ["1", "2"], "b": []}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    assert back(value) == value


def test_a_member_of_an_enum_comes_back_as_itself() -> None:
    assert back(Colour.RED) is Colour.RED
    assert back(Status.OPEN).label == "Open"


def test_a_defaultdict_goes_on_to_make_defaults() -> None:
    again = back(defaultdict(list, a=[1]))
    again["b"].append(2)
    assert again == {"a": [1], "b": [2]}


def test_a_deque_keeps_its_bound() -> None:
    assert back(deque([1, 2], maxlen=2)).maxlen == 2


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_is_kept_apart(fold: int) -> None:
    again = back(NIGHT.replace(fold=fold))
    assert again.fold == fold
    assert again.utcoffset() == datetime.timedelta(hours=2 - fold)


@pytest.mark.parametrize(
    "zone",
    [
        *(None, datetime.timezone.utc, ZoneInfo("UTC"), BERLIN),
        datetime.timezone(datetime.timedelta(seconds=-1, microseconds=7)),
        datetime.timezone(datetime.timedelta(hours=1), "CET"),
    ],
    ids=str,
)
def test_a_datetime_keeps_the_type_and_name_of_its_zone(zone: datetime.tzinfo | None) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=zone)
    again = back(moment)
    assert again == moment
    assert type(again.tzinfo) is type(zone)
    assert again.tzname() == moment.tzname()


class OwnZone(datetime.tzinfo):
    def utcoffset(self, moment: Any) -> datetime.timedelta:
        return datetime.timedelta(hours=1)


def test_a_zone_of_another_kind_is_refused_with_what_to_use() -> None:
    for value in (OwnZone(), datetime.datetime(2024, 1, 1, tzinfo=OwnZone())):
        with pytest.raises(CannotEncode, match=r"OwnZone cannot be kept: use a zoneinfo\.ZoneInfo"):
            encode(value)


def test_a_query_dict_keeps_empty_lists_order_and_mutability() -> None:
    for mutable in (False, True):
        query = QueryDict("a=1&b=%C3%A9&a=2", mutable=True)
        query.setlist("empty", [])
        query._mutable = mutable
        again = back(query)
        assert list(again.lists()) == [("a", ["1", "2"]), ("b", ["é"]), ("empty", [])]
        assert (again._mutable, again.encoding) == (mutable, query.encoding)


def test_a_query_dict_larger_than_a_form_may_be_comes_back(settings: Any) -> None:
    query = QueryDict(mutable=True)
    query.update({f"k{number}": "v" for number in range(50)})
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 10
    assert back(query) == query


def test_a_lazy_translation_is_kept_as_the_text_that_it_is() -> None:
    with override("de"):
        text = decode(encode(gettext_lazy("Yes")))
    assert text == "Ja"


def test_a_dataclass_comes_back_without_being_initialised_again() -> None:
    assert back(Checked(1)).count == 2


def test_a_dataclass_keeps_what_was_added_to_it() -> None:
    player = Player("ann")
    player.score = 3  # type: ignore[attr-defined]
    del player.hand
    again = back(player)
    assert vars(again) == {"name": "ann", "opponent": None, "score": 3}


def test_a_cached_property_of_a_dataclass_is_left_out_when_it_cannot_be_kept() -> None:
    player = Player("ann")
    client = player.client
    again = back(player)
    assert "client" not in vars(again)
    assert again.client is not client


def test_a_slot_that_was_never_filled_stays_empty() -> None:
    value = object.__new__(Slim)
    object.__setattr__(value, "value", 1)
    assert not hasattr(back(value), "other")


@pytest.mark.parametrize("value", [kept.Plain(), kept.Tagged(tag="x")], ids=lambda value: type(value).__name__)
def test_a_class_that_does_not_say_what_it_is_made_of_is_refused(value: Any) -> None:
    with pytest.raises(CannotEncode) as caught:
        encode(value)
    assert caught.value.value_type == f"tests.state.kept.{type(value).__name__}"


def test_a_class_defined_in_a_function_is_refused_by_name() -> None:
    class Colour(kept.enum.Enum):
        RED = 1

    made = make_dataclass("Made", ["x"])(1)
    for value, name in [(Colour.RED, "<locals>.Colour"), (Colour, "<locals>.Colour"), (made, "Made")]:
        with pytest.raises(CannotEncode, match="define it at the top level of a module") as caught:
            encode(value)
        assert caught.value.value_type.endswith(name)


def test_open_files_and_generators_are_refused_with_what_to_keep() -> None:
    with Path(__file__).open() as file, pytest.raises(CannotEncode, match="keep its name, and open it again"):
        encode(file)
    with pytest.raises(CannotEncode, match="keep what it would still yield"):
        encode(letter for letter in "a")


def test_paths_do_not_depend_on_where_python_defines_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pathlib.PosixPath, "__module__", "pathlib._local")
    assert back(Path("/a")) == Path("/a")
