"""The table of subcommands. A stage's row names the same ``main`` that ``python compile/<stage>.py`` runs."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand: its words after ``tdss``, the module whose ``main`` it is, one sentence, and an example."""

    name: str
    module: str
    summary: str
    example: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words after ``tdss`` that call it."""
        return tuple(self.name.split())


COMMANDS = (
    Command(
        name="bundle verify",
        module="cli.verify_bundle",
        summary="Hash every file of a bundle and refuse, by name, one that was altered.",
        example="tdss bundle verify build/default/intel",
    ),
    Command(
        name="bundle info",
        module="cli.show_bundle",
        summary="Say what a bundle holds: tasks, variants, the engine, budgets.",
        example="tdss bundle info build/default/intel --json",
    ),
)
