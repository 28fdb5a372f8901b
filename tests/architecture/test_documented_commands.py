"""Every command that a document shows exists: its subcommand, its options, its make goal. None of them is run."""

import argparse
import inspect
import re
import shlex
from functools import cache
from importlib import import_module

import pytest
from markdown_it import MarkdownIt

from cli.commands import COMMANDS
from cli.main import find
from compile.stage.command import command_of
from device_runtime.write import RUNTIME
from targets.table import TARGETS
from tests.architecture.source import PACKAGES, ROOT, file_of

DOCUMENTS = (
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("**/*.md")) if path.parent.name != "decisions"),
)
OURS = re.compile(r"(?:tdss|make|python3? -m|python3? tdss-runtime\.pyz|python3? compile/\S+)(?: .*)?")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
GOALS = {goal for names in re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE) for goal in names.split()}
ASKED = re.findall(r"^ASKED := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
VARIABLES = {*ASKED, *re.findall(r"^(\w+) \?=", MAKEFILE, re.MULTILINE)}
OPTIONS = {
    "bench": "studies.comparison.command",
    "bench-fold": "studies.folding.run",
    "bundle": "targets.__main__",
    "foreign": "studies.foreign.run",
    "zoo": "studies.zoo.run",
    "zoo-train": "studies.zoo.train",
}  # whose command line make's options become
PIPELINE = "compile.pipeline"  # else


def shown() -> dict[str, list[str]]:
    """Return the words of each command in the documents by its document and line."""
    commands: dict[str, list[str]] = {}
    for path in DOCUMENTS:
        for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
            lines = [child.content for child in token.children or () if child.type == "code_inline"]
            if token.type in ("fence", "code_block"):
                lines = re.sub(r"\s*\\\n\s*", " ", token.content).splitlines()
            for line in filter(OURS.fullmatch, lines):
                where = f"{path.relative_to(ROOT)}:{token.map[0] + 1 if token.map else 0}"
                commands |= {f"{where} {' '.join(words)}": words for words in split(line)}
    return commands


def split(text: str) -> list[list[str]]:
    """Return the words of each command of a line, without the comment or sentence behind; a | b are two commands."""
    commands = []
    for part in re.split(r"\s{2,}|\s#", text)[0].split(" && "):
        first, *others = part.split(" | ")
        words = shlex.split(first)
        commands += [words, *([*words[:-1], other.split()[0]] for other in others)]
    return commands


def wrong(words: list[str]) -> str:
    """Say what of a command there is not, "" for one that is right."""
    if words[0] == "make":
        reader = next((OPTIONS[name] for word in words if (name := word.partition("=")[0]) in OPTIONS), PIPELINE)
        return " ".join(filter(None, (wrong_goal(word, reader) for word in words[1:])))
    if words[0] == "tdss":
        return wrong_subcommand(words[1:])
    if words[1] == RUNTIME:
        return wrong_option("device_runtime.command", words[2:4] if words[2] == "test" else words[2:])  # else pytest's
    module = words[2] if words[1] == "-m" else words[1].removesuffix(".py").replace("/", ".")
    rest = words[3:] if words[1] == "-m" else words[2:]
    if module.partition(".")[0] not in (*PACKAGES, "tests"):  # another project's; of pytest's words, the paths are ours
        return " ".join(
            word for word in rest if word.startswith("tests/") and not (ROOT / word.split("::")[0]).exists()
        )
    if file_of(module) is None:
        return module
    return wrong_option(f"{module}.__main__" if (ROOT / module / "__main__.py").is_file() else module, rest)


def wrong_goal(word: str, reader: str) -> str:
    """Say what of one word after ``make`` there is not; the module ``reader`` gets what ``options`` holds."""
    name, given, value = word.partition("=")
    if not given:
        return "" if word in GOALS else word
    if name == "options":
        return wrong_option(reader, value.split())
    known = name in VARIABLES and (name != "target" or set(value.split("|")) <= {*TARGETS, "...", "NAME"})
    return "" if known else word


def wrong_subcommand(words: list[str]) -> str:
    """Say what of the words after ``tdss`` there is not; those of a group, and none, list its commands."""
    command = find(words)
    if command is not None:
        return wrong_option(command.module, words[len(command.words) :], command.function)
    group = tuple(word for word in words if word not in ("--help", "-h", "--version", "-V", "COMMAND"))
    return "" if any(row.words[: len(group)] == group for row in COMMANDS) else " ".join(words)


def wrong_option(module: str, words: list[str], function: str = "main") -> str:
    """Say which options, or which subcommand of its own, a module does not have."""
    options, commands = parameters(module, function)
    if commands and words:
        if words[0] not in commands:
            return words[0]
        options |= commands[words[0]]
    names = {word.partition("=")[0] for word in words if word.startswith("-")}
    return " ".join(sorted(names - options - {"--help", "-h"}))


@cache
def parameters(module: str, function: str = "main") -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """Return the options of a module's command line, and those of each of its subcommands, as its own parser has them."""
    main = getattr(import_module(module), function)
    if "arguments" in inspect.signature(main).parameters:
        return argparse_parameters(main)
    rows = command_of(main).params
    return frozenset(name for row in rows for name in (*row.opts, *row.secondary_opts)), {}


def argparse_parameters(main: object) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """Return the same of a ``main`` that makes an ArgumentParser: it is stopped before it reads a word."""

    class Stopped(BaseException):
        """It carries the parser away."""

    def stop(parser: argparse.ArgumentParser, *given: object, **named: object) -> None:
        raise Stopped(parser)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        main([])  # type: ignore[operator]
    actions = caught.value.args[0]._actions
    commands = next((one.choices for one in actions if isinstance(one, argparse._SubParsersAction)), {})
    own = frozenset(name for one in actions for name in one.option_strings)
    return own, {name: frozenset(row._option_string_actions) for name, row in commands.items()}


@pytest.mark.parametrize("words", [pytest.param(words, id=place) for place, words in shown().items()])
def test_a_documented_command_exists(words: list[str]) -> None:
    assert wrong(words) == ""


def test_the_documents_show_commands_of_every_kind() -> None:
    firsts = {words[0] if words[0] != "python" else " ".join(words[:2]) for words in shown().values()}
    assert {"make", "tdss", "python -m", "python compile/torch_engine.py"} <= firsts and len(shown()) > 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tdss flod models/default", "flod models/default"),
        ("tdss fold models/default --explian  # why", "--explian"),
        ("tdss fold | exprot", "exprot"),
        ("tdss bundle verify | inof", "bundle inof"),
        ("make tets", "tets"),
        ("make targt=intel", "targt=intel"),
        ("make target=inetl", "target=inetl"),
        ("python -m bundle varify DIR", "varify"),
        ("python -m bundle verify DIR --kye K", "--kye"),
        ("python -m targets DIR --devise=GPU", "--devise"),
        ("python3 tdss-runtime.pyz jugde NAME.zip", "jugde"),
        ("python3 tdss-runtime.pyz judge NAME.zip --devise=GPU", "--devise"),
        ("python compile/flod.py DIR", "compile.flod"),
        ("make target=jetson bundle=DIR options='--workspcae 9'", "--workspcae"),
        ("make target=jetson options='--workspace 9'", "--workspace"),
        ("make env && tdss train --confgi a.toml", "--confgi"),
        ("python -m pytest tests/regresion", "tests/regresion"),
    ],
)
def test_the_check_sees_what_there_is_not(text: str, said: str) -> None:
    assert wrong(split(text)[-1]) == said
