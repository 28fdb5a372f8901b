"""The warnings accepted by name, read from a TOML file: ``[[accept]]`` with rule, node, reason and measured."""

from pathlib import Path

from pydantic import ValidationError

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults, fix_of
from compile.tensorrt_checks.findings import Accepted
from compile.tensorrt_checks.rules.table import RULES
from tdss.toml_file import read_toml

WARNINGS = {rule.name for rule in RULES if rule.severity == "warning"}


class Acceptances(Frozen):
    """The file: one table per accepted warning."""

    accept: tuple[Accepted, ...]


def read_accepted(path: Path) -> tuple[Accepted, ...]:
    """Read the accepted warnings.

    Raises:
        ConfigError: the file cannot be read, lacks a reason, or names a rule that is no warning.
    """
    values = read_toml(path, "the accepted warnings")
    try:
        found = Acceptances.model_validate(values).accept
    except ValidationError as error:
        raise ConfigError(
            "the accepted warnings are wrong",
            expected="TOML: [[accept]] with rule, reason, measured and, unless it is every node, node",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error
    for one in found:
        if one.rule not in WARNINGS:
            raise ConfigError(
                f"{one.rule!r} cannot be accepted",
                expected=f"one of the warnings {', '.join(sorted(WARNINGS))}",
                got=one.rule,
                where=str(path),
                fix="fix what the rule names: an error is never accepted",
            )
    return found
