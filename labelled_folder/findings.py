"""What is wrong with a labelled folder, and how much of what is in it: the report of ``tdss data check``."""

from collections.abc import Callable, Mapping
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen

Severity: TypeAlias = Literal["error", "warning"]
Splits: TypeAlias = Mapping[str, tuple[str, ...]]
P = ParamSpec("P")
T = TypeVar("T")


class Finding(Frozen):
    """One thing that is wrong: an error is refused by a build or makes its verdict worthless, a warning may be right."""

    severity: Severity
    message: str
    expected: str
    got: str
    where: str
    fix: str


class TaskCount(Frozen):
    """The labels of a task in a split: those that can be used, those without a file, and images that count for a metric.

    ``pixels`` and ``images`` have an entry for each value of the task: its share of all labelled pixels, and in how many
    images it is.
    """

    task: str
    usable: int
    missing: int
    counted: int
    pixels: dict[str, float]
    images: dict[str, int]


class SplitCount(Frozen):
    """A split: its ids, and the labels of each task."""

    split: str
    ids: int
    tasks: tuple[TaskCount, ...]


class FolderReport(Frozen):
    """A labelled folder; ``sizes`` has how many images have each size, written as ``height×width``."""

    schema_version: Literal[1] = 1
    folder: str
    splits: tuple[SplitCount, ...]
    sizes: dict[str, int]
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)


class Findings:
    """What was found so far; the reads of a folder are tried here, so that one error does not hide the next."""

    def __init__(self) -> None:
        self.all: list[Finding] = []

    def add(self, severity: Severity, error: DatasetError) -> None:
        """Keep one finding."""
        self.all.append(
            Finding(
                severity=severity,
                message=error.message,
                expected=error.expected,
                got=error.got,
                where=error.where,
                fix=error.fix,
            )
        )

    def warn(self, message: str, *, expected: str, got: str, where: str, fix: str) -> None:
        """Keep what may be right and looks wrong."""
        self.add("warning", DatasetError(message, expected=expected, got=got, where=where, fix=fix))

    def result(self, read: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | None:
        """Return what a read returns, or None; what it raises is kept as an error."""
        try:
            return read(*arguments, **named)
        except DatasetError as error:
            self.add("error", error)
            return None

    def passes(self, check: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> bool:
        """Say whether a check raises nothing; what it raises is kept as an error."""
        before = len(self.all)
        self.result(check, *arguments, **named)
        return len(self.all) == before
