"""The files of a bundle that only the page reads back, read into frozen values: bench.json and fold.json."""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.formats.fold import FOLD, FoldRecord, FoldSettings
from bundle.formats.manifest import Manifest
from bundle.formats.results import RESULTS, read_result
from bundle.judging.choice import BENCH, Bench

ReadT = TypeVar("ReadT")


class FoldRule(Frozen):
    """All decisions of one rule together; ``max_abs_error`` is the largest that was recorded."""

    rule: str
    folded: int
    kept: int
    approximate: int
    max_abs_error: float | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int


def read_json(folder: Path, name: str, kind: TypeAdapter[ReadT], expected: str) -> ReadT | None:
    """Return the value of a bundle's JSON file, or None if there is no such file; a result's seal is checked.

    Raises:
        ArtifactError: the file is there and holds something else than ``expected`` says.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        return kind.validate_json(read_result(folder, name) if name in RESULTS else path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(
            f"{path.name} cannot be read", expected=expected, got=faults(error), where=str(path),
            fix="build the bundle again with this version of the project",
        ) from error  # fmt: skip


def read_bench(folder: Path) -> Bench | None:
    """Read ``bench.json`` of a bundle; None if nothing was measured.

    Raises:
        ArtifactError: the file is there and does not hold the six keys.
    """
    return read_json(folder, BENCH, TypeAdapter(Bench), "latencies in milliseconds")


def read_fold(folder: Path) -> tuple[FoldRecord, ...] | None:
    """Read ``fold.json`` of a bundle; None if there is none.

    Raises:
        ArtifactError: the file is there and is no list of fold decisions.
    """
    return read_json(folder, FOLD, TypeAdapter(tuple[FoldRecord, ...]), "a list of fold decisions")


def read_fold_settings(manifest: Manifest) -> FoldSettings | None:
    """Return how the fold stage ran, its proof and costs, from the manifest's settings; None if they hold nothing of it.

    Raises:
        ArtifactError: the settings hold something else under ``fold``.
    """
    if "fold" not in manifest.settings:
        return None
    try:
        return FoldSettings.model_validate(manifest.settings["fold"])
    except ValidationError as error:
        raise ArtifactError(
            "the fold's settings cannot be read", expected="mode and proof", got=faults(error), where="manifest.json",
            fix="build the bundle again with this version of the project",
        ) from error  # fmt: skip


def fold_rules(lines: tuple[FoldRecord, ...]) -> tuple[FoldRule, ...]:
    """Sum the decisions by rule, in the order in which the rules first appear."""
    groups: dict[str, list[FoldRecord]] = {}
    for line in lines:
        groups.setdefault(line.rule, []).append(line)
    return tuple(_sum(rule, group) for rule, group in groups.items())


def _sum(rule: str, group: list[FoldRecord]) -> FoldRule:
    folded = [line for line in group if line.decision == "folded"]
    errors = [line.max_abs_error for line in folded if line.max_abs_error is not None]
    return FoldRule(
        rule=rule,
        folded=len(folded),
        kept=len(group) - len(folded),
        approximate=sum(not line.exact for line in folded),
        max_abs_error=max(errors, default=None),
        params_before=sum(line.params_before for line in group),
        params_after=sum(line.params_after for line in group),
        macs_before=sum(line.macs_before for line in group),
        macs_after=sum(line.macs_after for line in group),
    )
