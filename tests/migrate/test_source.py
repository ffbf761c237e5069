"""Parsing, metadata, and carrying out a plan."""

from __future__ import annotations

import libcst as cst
import pytest

from grip_consumers.migrate.source import Source, dotted_name, text_of


@pytest.mark.parametrize("text", ["", "x = 1", "x = 1\n\n\n# end", "\tx\n".lstrip(), "x = '''a\r\nb'''\r\ny = 1\n"])
def test_a_text_without_a_plan_stays(text: str) -> None:
    assert Source(text, "a.py").changed_text() == text


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError, match=r"^line 1: "):
        Source("def (:\n", "a.py")


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(SyntaxError):
        Source("x = " + "[" * 3000 + "]" * 3000, "a.py")
    with pytest.raises(RecursionError):
        Source("x = " + "+".join("a" * 900), "a.py")


FORM_FEEDS = {
    "before the first statement": "\x0cimport a\n",
    "between functions": "def f(): ...\n\n\x0c\ndef g(): ...\n\x0cdef h(): ...\n",
    "several": "a\n\x0c\x0cb\n\x0c# c\n\x0c",
    "before indentation": "if a:\n\x0c    b\n    c\n\x0cd\n",
    "in a string": "'''\n\x0cx\n'''\n\x0cb\n",
    "with other line ends": "a\r\n\x0cb\r\nc\n\x0cd",
}


@pytest.mark.parametrize("name", FORM_FEEDS)
def test_form_feeds_are_kept(name: str) -> None:
    text = f"{FORM_FEEDS[name]}\nwanted\n"
    source = Source(text, "a.py")
    (node,) = (node for node in source.find(cst.Name) if node.value == "wanted")
    assert source.line(node) == text[: text.index("wanted")].count("\n") + 1
    source.change(node, lambda name: name.with_changes(value="found"))
    assert source.changed_text() == text.replace("wanted", "found")


def test_it_is_said_what_to_do_with_carriage_returns() -> None:
    with pytest.raises(SyntaxError, match="end them in line feeds"):
        Source("import a\rb\r", "a.py")


def test_a_text_with_a_null_byte_is_refused() -> None:
    with pytest.raises(SyntaxError):
        Source("x = 1\0", "a.py")


def test_a_plan_is_carried_out_on_nodes_whose_children_have_changed() -> None:
    source = Source("a = b\n", "a.py")
    assign = next(source.find(cst.Assign))
    for name in source.find(cst.Name):
        source.change(name, lambda node: node.with_changes(value=node.value * 2))
    source.change(assign, lambda node: node.with_changes(value=cst.Tuple([cst.Element(node.value)])))
    assert source.changed_text() == "aa = (bb,)\n"


def test_a_statement_may_go_and_leaves_pass_where_it_must() -> None:
    source = Source("if x:\n    f()\n", "a.py")
    source.change(next(source.find(cst.Expr)), lambda node: None)
    compile(source.changed_text(), "a.py", "exec")


def test_notes_have_the_line_of_their_node() -> None:
    source = Source("\n\nx = 'a'\n", "a.py")
    source.note(next(source.find(cst.SimpleString)), "kind", "text")
    assert [(note.line, note.kind, note.text) for note in source.notes] == [(3, "kind", "text")]


@pytest.mark.parametrize(("text", "name"), [("a", "a"), ("a.b.c", "a.b.c"), ("a().b", ""), ("1", "")])
def test_dotted_names(text: str, name: str) -> None:
    assert dotted_name(cst.parse_expression(text)) == name


@pytest.mark.parametrize(
    ("text", "value"), [("'a'", "a"), ("'a' 'b'", "ab"), ("b'a'", None), ("f'a'", None), ("1", None)]
)
def test_texts(text: str, value: str | None) -> None:
    assert text_of(cst.parse_expression(text)) == value
