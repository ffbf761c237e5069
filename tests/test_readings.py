"""Readings: what the code of one function shows of what it does."""

from __future__ import annotations

import json

from grip_consumers.readings import Reading, cells, nested_code, read

ROOMS: dict = {}


def test_names_are_noted_by_what_they_are_read_from():
    class Chat:
        def note(self, event):
            self.one.two()
            type(self).three  # noqa: B018
            super().four()
            json.dumps(event)

    reading = read(Chat.note, "self")
    assert list(reading.attributes) == ["one"]
    assert list(reading.of_class) == ["three"]
    assert list(reading.of_super) == ["four"]
    assert ("global", "json", "dumps") in reading.outside


def test_only_what_the_first_argument_is_taken_for_is_followed():
    def note(consumer, self):
        consumer.one, self.two  # noqa: B018

    assert list(read(note, "self").attributes) == ["one"]
    assert list(read(note, "type(self)").of_class) == ["one"]
    assert read(note, "") == Reading()


def test_writes_are_noted_if_they_outlive_the_call():
    def note(self, event):
        self.one = ROOMS["two"] = type(self).three = event["four"] = 1
        local = {}
        local["five"] = 1

    assert set(read(note, "self").writes) == {"self.one", "ROOMS[…]", "type(self).three"}


def test_a_path_without_end_is_followed_to_some_depth():
    def note(self, event):
        here = self.root
        for _ in event:
            here = here.next
        here.x = 1

    assert "self.root.x" in read(note, "self").writes


def test_a_variable_is_all_that_is_assigned_to_it():
    def note(self, event):
        while event:
            helper(other)  # noqa: F821
            other = self  # noqa: F841

    assert list(read(note, "self").handed_on) == ["hands self to helper()"]


def test_a_wrapped_function_is_told_from_one_that_is_only_used():
    def decorate(function, check):
        def wrapper(self, event):
            return check(event) and function(self, event)

        return wrapper

    reading = read(decorate(print, None), "self")
    assert reading.handed_on == {"hands self to function()": None}
    reading = read(decorate(lambda self, event: 1, lambda event: 1), "self")
    assert reading.handed_on == {}
    assert list(reading.wrapped) == ["function"]
    assert ("cell", "check") in reading.outside


def test_the_cells_of_a_function_are_told_even_if_one_is_empty():
    def outer():
        def inner():
            return filled, empty

        filled = 1
        if not filled:
            empty = 2
        return inner

    assert cells(outer()) == {"filled": 1, "empty": None}


def test_code_is_found_at_any_depth():
    def note():
        class Inner:
            def method(self):
                return lambda: [None for _ in ()]

        return Inner

    assert {"note", "Inner", "method", "<lambda>"} <= {code.co_name for code in nested_code(note.__code__)}
