"""``tdss completion``: the script that completes the commands and options in a shell; it asks ``tdss`` itself, by typer's protocol."""

import os
from importlib import import_module
from typing import Annotated, Any, Literal, TypeAlias

import typer

from cli.commands import COMMANDS, COMPLETION
from compile.stage.command import command_of

PROGRAM = "tdss"
Parsed: TypeAlias = typer.core.TyperCommand | typer.core.TyperGroup


class _Group(typer.core.TyperGroup):
    """The commands whose words begin with ``words``; a command's module is imported only to complete its options."""

    words: tuple[str, ...] = ()

    def get_params(self, ctx: object) -> list[Any]:
        """Return none: typer's own options for completion are no options of tdss."""
        return []

    def list_commands(self, ctx: object) -> list[str]:
        """Return the next word of each command."""
        depth = len(self.words)
        return list(dict.fromkeys(row.words[depth] for row in COMMANDS if row.words[:depth] == self.words))

    def get_command(self, ctx: object, cmd_name: str) -> Parsed:
        """Return a command that has its name and its summary only."""
        words = (*self.words, cmd_name)
        return typer.core.TyperCommand(cmd_name, help=next((row.summary for row in COMMANDS if row.words == words), ""))

    def resolve_command(self, ctx: object, args: list[str]) -> tuple[str | None, Parsed | None, list[str]]:
        """Return the command that the first word names, with its options, and the words behind it."""
        words = (*self.words, args[0])
        if args[0] not in self.list_commands(ctx):
            return None, None, args[1:]
        row = next((row for row in COMMANDS if row.words == words), None)
        if row is not None:
            return args[0], command_of(getattr(import_module(row.module), row.function)), args[1:]
        group = _Group(name=args[0])
        group.words = words
        return args[0], group, args[1:]


def answer() -> None:
    """Answer what the environment asks: the script of a shell, or how the words typed so far go on."""
    application = typer.Typer(cls=_Group)
    application.callback()(lambda: None)
    application(prog_name=PROGRAM)


def main(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell that the script is for.")],
) -> None:
    """Print the script that completes tdss in a shell; nothing is written.

    Example: tdss completion bash > ~/.tdss-completion && . ~/.tdss-completion
    """
    os.environ[COMPLETION] = f"source_{shell}"
    try:
        answer()
    finally:
        del os.environ[COMPLETION]
