"""What a lint says: findings, the warnings accepted by name, and the report of one graph."""

import re
from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from bundle.frozen import Frozen

Severity: TypeAlias = Literal["error", "warning"]


class Finding(Frozen):
    """One place where a graph breaks a rule.

    ``tensor`` is the tensor concerned ("" where it is the node itself), ``effect`` what TensorRT would do, ``mend`` what
    to do about it. ``accepted`` holds the reason of the acceptance that covers it, if one does.
    """

    rule: str
    severity: Severity
    node: str
    tensor: str
    effect: str
    mend: str
    accepted: str | None = None


class Accepted(Frozen):
    """A warning that is known and wanted: the rule's name, the nodes (a regular expression, matched in full), and why.

    ``measured`` says what was measured to justify it, and by which command.
    """

    rule: str
    node: str = ".*"
    reason: str = Field(min_length=1)
    measured: str = Field(min_length=1)

    @field_validator("node")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    def covers(self, finding: Finding) -> bool:
        """Say whether it is about this finding; an error is never accepted."""
        return (
            finding.severity == "warning"
            and finding.rule == self.rule
            and re.fullmatch(self.node, finding.node) is not None
        )


class LintReport(Frozen):
    """What the rules say about one graph. ``unused`` names the acceptances that covered nothing."""

    graph: str
    tensorrt: str
    opset: int
    nodes: int
    quantizers: int
    findings: tuple[Finding, ...]
    unused: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What TensorRT rejects or silently gets wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What costs accuracy or speed and was not accepted."""
        return tuple(finding for finding in self.findings if finding.severity == "warning" and not finding.accepted)

    @property
    def accepted(self) -> tuple[Finding, ...]:
        """The warnings that were accepted by name."""
        return tuple(finding for finding in self.findings if finding.accepted)
