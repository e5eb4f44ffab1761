"""Docstrings and notes are sentences about the thing they stand under."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import byol

ROOT = Path(byol.__file__).parent
FIRST_WORDS = re.compile(r"(Of|By|That|Those|Whose|Where|What)\b")
"""First words of a fragment, which is no sentence without the line above it."""


def docstrings_and_notes(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is a statement: docstrings, and notes below constants and fields."""
    for node in ast.walk(ast.parse(source)):
        for part in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(part, ast.Expr)
                and isinstance(part.value, ast.Constant)
                and isinstance(part.value.value, str)
            ):
                yield part.lineno, part.value.value.strip()


def test_docstrings_and_notes_begin_with_their_subject() -> None:
    fragments = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in sorted(ROOT.rglob("*.py"))
        for line, text in docstrings_and_notes(path.read_text())
        if FIRST_WORDS.match(text)
    ]
    assert fragments == []


@pytest.mark.parametrize(
    ("source", "is_fragment"),
    [
        ('"""What a run is."""', True),
        ('"""A run."""', False),
        ('RATE = 1\n"""Of the heads."""', True),
        ('class Run:\n    """A run."""\n\n    path: str\n    """Where it lies."""', True),
        ('def run():\n    """Whatever is asked."""\n    print("Of course")', False),
    ],
)
def test_fragments_are_found_wherever_they_stand(source: str, is_fragment: bool) -> None:
    assert any(FIRST_WORDS.match(text) for _, text in docstrings_and_notes(source)) == is_fragment
