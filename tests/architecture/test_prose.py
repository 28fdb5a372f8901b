"""Docstrings, comments and documents are plain English: sentences of at most 25 words, and no word that only this project understands."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it.token import Token

from tests.architecture.source import everything, place, tree
from tests.architecture.test_documents import DOCUMENTS, tokens

LONGEST = 25
PRIVATE = re.compile(r"\b(anybody|lies|mend(s|ed|ing)?|nobody|roads?|somebody|told)\b", re.IGNORECASE)
WORD = re.compile(r"[\w×≤≥%'’./-]+")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"'`])|(?<=[;:])\s+")
LITERAL = re.compile(r"^(    .*|.*\S   +\S.*)$", re.MULTILINE)  # indented, or in columns
DIRECTIVES = ("noqa", "type:", "!")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text without its tables and formulas. A name in backticks is one word; a clause ends at a colon."""
    for paragraph in re.split(r"\n\s*\n", LITERAL.sub("\n", re.sub(r"``[^`]*``|`[^`]*`", "X", text))):
        yield from SENTENCE_END.split(" ".join(paragraph.split()))


def docstrings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every docstring, with its line."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Every comment, with its line; those of neighbouring lines are one text."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.lstrip("#: ").strip()
        if token.type != tokenize.COMMENT or text.startswith(DIRECTIVES):
            continue
        if token.start[0] != last + 1 and block:
            yield start, " ".join(block)
            block = []
        start = start if block else token.start[0]
        block.append(text)
        last = token.start[0]
    if block:
        yield start, " ".join(block)


def is_long(sentence: str) -> bool:
    """Say whether a sentence has more words than a reader takes in."""
    return len(WORD.findall(sentence)) > LONGEST


def faults(text: str) -> Iterator[str]:
    """What is wrong with a text, sentence by sentence."""
    for sentence in sentences(text):
        if is_long(sentence):
            yield f"long: {sentence}"
        if found := PRIVATE.search(sentence):
            yield f"'{found.group()}': {sentence}"


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The docstrings and comments of a file."""
    yield from docstrings(tree(path))
    yield from comments(path.read_text(encoding="utf-8"))


def test_prose_is_plain() -> None:
    wrong = [
        f"{place(path, line)} {fault}" for path in everything() for line, text in texts(path) for fault in faults(text)
    ]
    assert wrong == []


def written(token: Token) -> str:
    """The text of a paragraph or a table's cell; code in it is one word."""
    return "".join(
        "X" if one.type == "code_inline" else " " if one.type.endswith("break") else one.content
        for one in token.children or ()
    )


def test_documents_have_no_long_sentence() -> None:
    """Notes of decisions are dated, and programs write the pages of studies: neither is read here."""
    documents = [path for path in DOCUMENTS if not {"decisions", "studies"} & set(path.parts)]
    texts = [(path.name, written(token)) for path in documents for token in tokens(path) if token.type == "inline"]
    assert len(texts) > 500
    assert [(name, one) for name, text in texts for one in sentences(text) if is_long(one)] == []


@pytest.mark.parametrize(
    "text", ["It lies here.", "a " * 26, "One. " + "b " * 26, "the road", "It says so, and nobody asks."]
)
def test_the_check_sees_what_is_not(text: str) -> None:
    assert list(faults(text))


def test_the_check_takes_what_is() -> None:
    assert list(faults("A value that is `as told` here. A" + " a" * 24 + ". Then:\n\nanother")) == []
