"""The answers of lint and of the proof about one graph, and whether they agree.

They do where lint has errors and NVIDIA's builder refuses, or where it has none and the builder accepts. An error about what
the builder takes and computes otherwise agrees with the plan: a product is in float, or ``SILENT`` says what is misread.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import GraphError
from bundle.formats.tensorrt_checks import GraphProof, LintReport, Proof
from compile.tensorrt_checks.operators import VERSIONS
from compile.tensorrt_checks.rtx_build import prove
from compile.tensorrt_checks.run import lint_file

SILENT = frozenset({"misread", "symmetric-int8"})  # the builder takes it, the numbers are others
IN_FLOAT = frozenset({"adjacent-weight", "constant-scales"})  # the builder takes it, the product is a float one
UNREADABLE = "unreadable"


class Row(NamedTuple):
    """What both said of one graph; ``agree`` is empty where the proof judges nothing."""

    name: str
    lint: str
    proof: str
    agree: str
    reason: str


def compare(path: Path, shapes: Mapping[str, tuple[int, ...]], name: str = "") -> Row:
    """Lint a graph for the oldest version and prove it."""
    name = name or path.name
    try:
        report, newest = (lint_file(path, (), version) for version in (VERSIONS[0], VERSIONS[-1]))
        proof = prove([path], shapes)
    except GraphError as error:
        return Row(name, UNREADABLE, UNREADABLE, "yes", error.got)
    one = proof.graphs[0] if proof.graphs else None
    answer, reason = _agreement(report, newest, proof, one)
    share = f", {one.int8_share:.0%} INT8" if one is not None and one.int8_share else ""
    return Row(name, _lint(report), f"{proof.status}{share}", answer, reason)


def _lint(report: LintReport) -> str:
    counts = Counter((finding.severity, finding.rule) for finding in report.findings)
    return ", ".join(f"{severity} {rule} × {count}" for (severity, rule), count in counts.items()) or "clean"


def _agreement(report: LintReport, newest: LintReport, proof: Proof, one: GraphProof | None) -> tuple[str, str]:
    rules = {finding.rule for finding in report.errors}
    if one is None or one.unjudged:
        return "", _short(proof.reason)
    if one.built is not bool(rules):
        return "yes", f"with {one.assumed}" if one.built and one.assumed else _short(proof.reason)
    if not rules:
        return "no", _short(proof.reason)
    if rules <= SILENT:
        return "yes", "the builder takes it and computes something else"
    if rules <= IN_FLOAT and one.int8_share < 1:
        return "yes", "the plan multiplies in float"
    if not newest.errors:
        return "yes", f"refused by {VERSIONS[0]} only: the parser learnt it later"
    return "no", report.errors[0].effect


def _short(text: str) -> str:
    words = " ".join(text.split()).replace("|", "/")
    return words if len(words) <= 160 else f"{words[:157]}..."
