"""The documents agree with the files: links, folders, configuration keys, commands, decision notes."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import tomllib
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel, ValidationError

from cli.commands import COMMANDS
from compile.networks.description import NetworkDescription
from compile.stage.config import BuildConfig
from compile.sweep.plan import SweepConfig
from fleet.devices import Fleet
from tdss.config import ModelConfig
from tdss.training.config import TrainConfig
from tests.architecture.source import PACKAGES, ROOT, everything

DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
NOTES = sorted(DECISIONS.glob("[0-9]*.md"))
DOCUMENTS = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "data").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
OTHERS = {"build", "runs"}  # written by commands
FORMATS = (NetworkDescription, SweepConfig, Fleet, BuildConfig, TrainConfig, ModelConfig)


def tokens(path: Path) -> Iterator[Token]:
    """Every token of a document, those inside a paragraph too."""
    for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def links(path: Path) -> set[str]:
    """The relative targets of a document's links and images."""
    values = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens(path)]
    return {value for value in values if value and not re.match(r"[a-z]+:", value)}


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    listed = list(tokens(path))
    texts = [after.content for token, after in pairwise(listed) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def broken(path: Path) -> list[str]:
    """Those of a document's links that lead nowhere."""
    wrong = []
    for link in sorted(links(path)):
        name, _, anchor = link.partition("#")
        goal = path.parent / name if name else path
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Two words\n\n[a](other.md) [b](page.md#two-words) ![c](#three)\n")
    assert broken(page) == ["#three", "other.md"]


def test_the_index_lists_every_page() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    pages = {path.resolve() for path in DOCS.rglob("*.md") if path.parent != DECISIONS and path.name != "README.md"}
    assert pages - listed == set()


def test_the_decisions_are_listed() -> None:
    assert {link for link in links(DECISIONS / "README.md") if link[0].isdigit()} == {path.name for path in NOTES}


def test_every_decision_is_linked_from_where_it_matters() -> None:
    pages = [path for path in DOCUMENTS if path.parent != DECISIONS and path.name != "CHANGELOG.md"]
    linked = {Path(link).name for path in pages for link in links(path) if "decisions/" in link}
    sources = [*everything(), ROOT / "Makefile", ROOT / "pyproject.toml"]
    named = {number for path in sources for number in re.findall(r"docs/decisions/(\d{4})", path.read_text())}
    assert [path.name for path in NOTES if path.name not in linked and path.name[:4] not in named] == []


def test_the_architecture_lists_the_folders() -> None:
    listed = set(re.findall(r"^\| `([\w/]+)/` \|", (DOCS / "architecture.md").read_text(), flags=re.MULTILINE))
    packages = {
        path.parent.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")
    }
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and "egg" not in path.name}
    assert listed == packages | (folders - OTHERS)


def models(kind: object) -> Iterator[type[BaseModel]]:
    """A configuration class and those of its values, however deep."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for argument in get_args(kind):
        yield from models(argument)


def test_every_key_of_a_configuration_is_documented() -> None:
    lines = [
        line for path in (DOCS / "reference").glob("*.md") for line in path.read_text(encoding="utf-8").splitlines()
    ]
    shown = {name for line in lines if line.startswith("|") for name in re.findall(r"`(\w+)`", line)}
    forms = (BuildConfig, ModelConfig)  # the keys of a training have a test of their own
    keys = {name for form in forms for kind in models(form) for name in kind.model_fields}
    assert keys - {"losses"} - shown == set()


def accepted(text: str) -> bool:
    """Say whether one of the formats takes a TOML text."""
    for form in FORMATS:
        try:
            form.model_validate(tomllib.loads(text))
        except ValidationError:
            continue
        return True
    return False


def test_every_configuration_that_is_shown_is_one() -> None:
    shown = [token.content for path in DOCUMENTS for token in tokens(path) if token.info == "toml"]
    assert len(shown) > 1 and [text for text in shown if not accepted(text)] == []
    assert not accepted(shown[0] + "\nunknown_key = 1\n")


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert [row.name for row in COMMANDS if f"`tdss {row.name}" not in text] == []
