from __future__ import annotations

import functools

import pytest
from django.utils.functional import SimpleLazyObject, cached_property

from grip_consumers.state import CannotEncode, decode, encode
from grip_consumers.state.table import dotted, import_dotted, is_derived, register, row_for, row_of, type_name
from tests.state.kept import Plain, Player


def test_a_name_is_found_again() -> None:
    assert dotted(Plain.Nested) == "tests.state.kept:Plain.Nested"
    assert import_dotted("tests.state.kept:Plain.Nested") is Plain.Nested
    with pytest.raises(AttributeError):
        import_dotted("tests.state.kept:Plain.Gone")
    with pytest.raises(ImportError):
        import_dotted("tests.state.gone:Plain")


def test_a_number_is_given_once() -> None:
    with pytest.raises(ValueError, match="extension 7 is taken"):
        register(Plain, 7, vars, dict)
    with pytest.raises(CannotEncode):
        encode(Plain())


def test_an_unknown_number_speaks_of_a_newer_release() -> None:
    with pytest.raises(ValueError, match=r"unknown extension 120.*newer release"):
        row_for(120)


def test_a_class_that_is_hidden_by_another_is_refused() -> None:
    hidden = type("Hidden", (), {"__module__": "tests.state.kept", "__qualname__": "Plain"})
    with pytest.raises(CannotEncode, match=r"tests\.state\.kept:Plain cannot be imported"):
        dotted(hidden)


def test_finding_the_row_of_a_value_evaluates_nothing() -> None:
    looked = []
    lazy = SimpleLazyObject(lambda: looked.append(1) or 5)
    assert decode(encode([lazy]))[0] == 5
    assert looked == [1]


def test_a_type_without_a_row_is_refused_by_its_dotted_name() -> None:
    for kind, name in [(object, "object"), (Plain, "tests.state.kept.Plain"), (Plain.Nested, None)]:
        if name is None:
            assert row_of(kind).code == 30
            continue
        with pytest.raises(CannotEncode, match=f"a value of type {name} cannot be kept"):
            row_of(kind)
        assert type_name(kind) == name


def test_cached_properties_of_python_and_django_are_derived() -> None:
    class Both:
        one = functools.cached_property(len)
        two = cached_property(len)
        three = property(len)
        four = 4

    assert [is_derived(Both, name) for name in ("one", "two", "three", "four", "five")] == [True, True, *[False] * 3]
    assert is_derived(Player, "client")
