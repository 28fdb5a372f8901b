"""The warnings accepted by name, read from a TOML file: ``[[accept]]`` with rule, node, reason and measured."""

from pathlib import Path

import tomllib
from pydantic import ValidationError

from bundle.errors import ConfigError
from bundle.frozen import Frozen
from compile.lint.findings import Accepted
from compile.lint.table import RULES

WARNINGS = {rule.name for rule in RULES if rule.severity == "warning"}


class Acceptances(Frozen):
    """The file: one table per accepted warning."""

    accept: tuple[Accepted, ...]


def read_accepted(path: Path) -> tuple[Accepted, ...]:
    """Read the accepted warnings.

    Raises:
        ConfigError: the file cannot be read, lacks a reason, or names a rule that is no warning.
    """
    try:
        found = Acceptances.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).accept
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(
            "the accepted warnings cannot be read",
            expected="TOML: [[accept]] with rule, reason, measured and, unless it is every node, node",
            got=str(error), where=str(path), fix="correct the file",
        ) from error  # fmt: skip
    return check_accepted(found, str(path))


def check_accepted(accepted: tuple[Accepted, ...], where: str) -> tuple[Accepted, ...]:
    """Return the acceptances if each is of a warning.

    Raises:
        ConfigError: one names an error or no rule at all.
    """
    for one in accepted:
        if one.rule not in WARNINGS:
            raise ConfigError(
                f"{one.rule!r} cannot be accepted", expected=f"one of the warnings {', '.join(sorted(WARNINGS))}",
                got=one.rule, where=where, fix="mend what the rule names: an error is never accepted",
            )  # fmt: skip
    return accepted
