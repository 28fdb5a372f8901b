"""The warnings accepted by name: known, wanted, and measured."""

import re

from pydantic import Field, field_validator

from bundle.base.frozen import Frozen
from bundle.formats.tensorrt_checks import Finding


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
