"""Functions inside functions are kept by where they stand, if they are their code and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from grip_consumers.state import codec, local_functions
from grip_consumers.state.table import CannotEncode


class Holder:
    """As libraries have it: factories made in a method."""

    def __init__(self) -> None:
        self.nested = defaultdict(lambda: defaultdict(set))
        self.first, self.second = (lambda: "first"), (lambda: "second")

    def deeper(self) -> Callable[[], Any]:
        def one() -> Callable[[], Any]:
            return lambda: {"one"}

        return one()

    def closing(self, text: str) -> Callable[[], str]:
        return lambda: text

    def defaulting(self) -> Callable[[], str]:
        return lambda text="x": text


def again(value: Any) -> Any:
    return codec.decode(codec.encode(value))


def test_a_dictionary_with_a_lambda_for_missing_keys_works_on() -> None:
    holder = Holder()
    holder.nested["a"]["b"].add(1)
    back = again(holder.nested)
    assert back == {"a": {"b": {1}}}
    back["c"]["d"].add(2)
    assert back["c"] == {"d": {2}}
    assert codec.encode(again(back)) == codec.encode(back)


def test_several_in_one_function_and_those_deeper_inside_are_told_apart() -> None:
    holder = Holder()
    assert (again(holder.first)(), again(holder.second)()) == ("first", "second")
    deep = again(holder.deeper())
    assert deep() == {"one"}
    assert deep.__qualname__ == "Holder.deeper.<locals>.one.<locals>.<lambda>"


@pytest.mark.parametrize(
    "function",
    [Holder().closing("x"), Holder().defaulting()],
    ids=["a closure", "default values"],
)
def test_one_that_is_more_than_its_code_is_refused(function: Any) -> None:
    with pytest.raises(CannotEncode, match="cannot be imported by that name"):
        codec.encode(function)


def test_one_that_a_deploy_has_changed_is_not_taken_for_what_it_was() -> None:
    module, qualified, number, digest = local_functions.write_function(Holder().first)
    for changed in ([module, qualified, number + 1, digest], [module, qualified, 9, digest]):
        with pytest.raises(ValueError, match="is not what it was"):
            local_functions.read_function(changed)
    with pytest.raises(AttributeError):
        local_functions.read_function([module, qualified.replace("Holder", "Gone"), number, digest])


def test_what_is_written_names_no_place_in_a_file() -> None:
    """The same text, some lines further down, is the same function."""
    source = "def outer():\n    return lambda value: value in {1, 2, 3}\n"
    digests = []
    for text in (source, "\n\n" + source):
        names: dict[str, Any] = {}
        exec(text, names)
        digests.append(local_functions._digest(names["outer"]().__code__))
    assert digests[0] == digests[1]
