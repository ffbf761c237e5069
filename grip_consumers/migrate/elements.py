"""Takes elements out of lists, tuples, sets and dictionaries, and puts one in, with the layout around them kept.

A collection of n elements has n + 1 gaps: behind the opening bracket, behind each comma, before the closing one. A gap
holds white space and comments: first that of the line that ends in it, then lines of their own, then the indentation.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar, cast

import libcst as cst

__all__ = ["Container", "insert", "quoted_like", "remove"]

Container = TypeVar("Container", bound=cst.List | cst.Tuple | cst.Set | cst.Dict)
Gap = cst.BaseParenthesizableWhitespace

_OPENING = {"List": "lbracket", "Set": "lbrace", "Dict": "lbrace"}
_CLOSING = {"List": "rbracket", "Set": "rbrace", "Dict": "rbrace"}


def remove(container: Container, indexes: Collection[int]) -> Container:
    """Without these elements; comments at the end of their lines go with them, those on lines of their own stay."""
    elements, gaps = list(container.elements), _gaps(container)
    trailing = _has_comma(elements[-1])
    for index in sorted(indexes, reverse=True):
        merged = _merged(gaps[index], gaps[index + 1], last=index == len(elements) - 1)
        gaps[index : index + 2] = [merged]
        del elements[index]
    if not elements and not _has_comment(gaps[0]):
        gaps = [cst.SimpleWhitespace("")]
    return cast(Container, _rebuilt(container, elements, gaps, trailing))


def insert(container: Container, index: int, element: Any) -> Container:
    """With one element more, on a line of its own if the others are on theirs.

    Comments on lines of their own stay with the element that they stand above.
    """
    elements, gaps = list(container.elements), _gaps(container)
    trailing = bool(elements) and _has_comma(elements[-1])
    gap = gaps[index]
    if not elements:
        around: list[Gap] = [cst.SimpleWhitespace(""), gap]
    elif isinstance(gap, cst.ParenthesizedWhitespace):
        below = gap.with_changes(first_line=cst.TrailingWhitespace(newline=gap.first_line.newline))
        around = [gap.with_changes(empty_lines=[]), below]
    elif isinstance(gaps[1], cst.ParenthesizedWhitespace) and len(elements) > 1:
        around = [gap, gaps[1].with_changes(first_line=cst.TrailingWhitespace(), empty_lines=[])]
    else:
        around = [gap, cst.SimpleWhitespace(" ")] if index == 0 else [cst.SimpleWhitespace(" "), gap]
    gaps[index : index + 1] = around
    elements.insert(index, element)
    return cast(Container, _rebuilt(container, elements, gaps, trailing))


def quoted_like(text: str, example: cst.CSTNode | None) -> cst.SimpleString:
    """A string literal in the quotes of another."""
    quote = "'" if isinstance(example, cst.SimpleString) and example.quote == "'" else '"'
    return cst.SimpleString(f"{quote}{text}{quote}")


def _gaps(container: Any) -> list[Gap]:
    opening, closing = _brackets(container)
    between = [
        element.comma.whitespace_after if _has_comma(element) else cst.SimpleWhitespace("")
        for element in container.elements[:-1]
    ]
    # Without elements the parser leaves all of it to the opening bracket.
    return [opening, *between, closing] if container.elements else [opening]


def _brackets(container: Any) -> tuple[Gap, Gap]:
    if isinstance(container, cst.Tuple):
        if not container.lpar:
            return cst.SimpleWhitespace(""), cst.SimpleWhitespace("")
        return container.lpar[-1].whitespace_after, container.rpar[0].whitespace_before
    kind = type(container).__name__
    return getattr(container, _OPENING[kind]).whitespace_after, getattr(container, _CLOSING[kind]).whitespace_before


def _rebuilt(container: Any, elements: list[Any], gaps: list[Gap], trailing: bool) -> Any:
    last = len(elements) - 1
    built = []
    for index, element in enumerate(elements):
        if index < last:
            comma = element.comma if _has_comma(element) else cst.Comma()
            comma = comma.with_changes(whitespace_after=gaps[index + 1])
        else:
            comma = cst.Comma() if trailing else cst.MaybeSentinel.DEFAULT
        built.append(element.with_changes(comma=comma))
    closing = gaps[-1] if elements else cst.SimpleWhitespace("")
    return _with_brackets(container.with_changes(elements=built), gaps[0], closing)


def _with_brackets(container: Any, before: Gap, after: Gap) -> Any:
    if isinstance(container, cst.Tuple):
        left = container.lpar or [cst.LeftParen()]
        right = container.rpar or [cst.RightParen()]
        return container.with_changes(
            lpar=[*left[:-1], left[-1].with_changes(whitespace_after=before)],
            rpar=[right[0].with_changes(whitespace_before=after), *right[1:]],
        )
    kind = type(container).__name__
    opening, closing = getattr(container, _OPENING[kind]), getattr(container, _CLOSING[kind])
    return container.with_changes(
        **{
            _OPENING[kind]: opening.with_changes(whitespace_after=before),
            _CLOSING[kind]: closing.with_changes(whitespace_before=after),
        }
    )


def _merged(before: Gap, after: Gap, *, last: bool) -> Gap:
    """What is left of the gaps around an element that is taken out."""
    if isinstance(before, cst.ParenthesizedWhitespace) and isinstance(after, cst.ParenthesizedWhitespace):
        return after.with_changes(first_line=before.first_line, empty_lines=[*before.empty_lines, *after.empty_lines])
    if isinstance(after, cst.ParenthesizedWhitespace):
        return after.with_changes(first_line=cst.TrailingWhitespace(newline=after.first_line.newline))
    if last and not _has_comment(before):
        return after
    return before


def _has_comma(element: Any) -> bool:
    return isinstance(element.comma, cst.Comma)


def _has_comment(gap: Gap) -> bool:
    if not isinstance(gap, cst.ParenthesizedWhitespace):
        return False
    return gap.first_line.comment is not None or any(line.comment is not None for line in gap.empty_lines)
