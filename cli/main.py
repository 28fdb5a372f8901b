"""The command ``tdss``: a table of subcommands, each loaded only when it is called.

``tdss --help`` needs the standard library only; a subcommand loads its own module, so a machine that lacks a package
can still run every command that does without it. Exit codes: 0 good, 1 regression, 2 bad input, 3 target unavailable,
4 a fault of this program.
"""

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from itertools import takewhile

from bundle.base.errors import InputError
from bundle.base.terminal import exit_status, print_answer
from bundle.base.version import version_text
from cli.commands import COMMANDS, COMPLETION, Command

ENDING = """\
tdss COMMAND --help shows a command's options and an example.
Exit codes: 0 good, 1 regression, 2 bad input, 3 target unavailable, 4 a fault of this program.
"""


@exit_status()
def run(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    _dispatch(sys.argv[1:] if arguments is None else arguments)


def _dispatch(words: list[str]) -> None:
    if COMPLETION in os.environ:
        import_module("cli.completion").answer()
        return
    if words[:1] in (["--version"], ["-V"]):
        print_answer(version_text())
        return
    command = find(words)
    if command is not None:
        _call(command, words[len(command.words) :])
        return
    group = tuple(takewhile(lambda word: not word.startswith("-"), words))
    rows = [row for row in COMMANDS if row.words[: len(group)] == group]
    if not rows:
        raise _unknown(group)
    print_answer(overview(rows))
    if not {"--help", "-h"} & set(words):
        raise SystemExit(InputError.exit_code)


def find(words: list[str]) -> Command | None:
    """Return the row whose words ``words`` begin with, None if there is none."""
    return next((row for row in COMMANDS if tuple(words[: len(row.words)]) == row.words), None)


def overview(rows: list[Command]) -> str:
    """Return the help of several commands: one line each."""
    width = max(len(row.name) for row in rows) + 2
    lines = "".join(f"  {row.name:<{width}}{row.summary}\n" for row in rows)
    return f"usage: tdss COMMAND [OPTIONS]\n\n{lines}\n{ENDING}"


def _unknown(words: tuple[str, ...]) -> InputError:
    """Return the error for the first of the words that is neither a command nor a group of commands."""
    group = words[:1] if any(row.words[0] == words[0] for row in COMMANDS) else ()
    names = dict.fromkeys(" ".join(row.words[: len(group) + 1]) for row in COMMANDS if row.words[: len(group)] == group)
    name, start = " ".join(words[: len(group) + 1]), "".join(f"{word} " for word in group)
    close = get_close_matches(name.removeprefix(start), [known.removeprefix(start) for known in names], n=1)
    fix = f"did you mean 'tdss {start}{close[0]}'?" if close else f"tdss {start}--help says what each does"
    return InputError(
        f"there is no command {name!r}",
        expected=f"one of {', '.join(names)}",
        got=repr(name),
        where="the command line",
        fix=fix,
    )


def _call(command: Command, rest: list[str]) -> None:
    from compile.stage.command import run_script

    run_script(getattr(import_module(command.module), command.function), rest, name=f"tdss {command.name}")


if __name__ == "__main__":
    run()
