"""GraphCheck: what the rules and NVIDIA's parser say about the graphs a target ships, as files of its bundle.

``lint.json`` holds the rules' findings, ``proof.json`` what TensorRT-RTX made of each graph, or why it was not asked.
"""

from collections.abc import Sequence
from pathlib import Path

from bundle.base.errors import GraphError
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import write_text
from bundle.formats.tensorrt_checks import LINT, PROOF, LintReport, LintReports, Proof
from compile.tensorrt_checks.findings import Accepted
from compile.tensorrt_checks.rtx_build import prove
from compile.tensorrt_checks.rules.accepted import read_accepted
from compile.tensorrt_checks.run import lint_file
from targets.base import Target, Variant

ACCEPTED = "accepted.toml"  # in the folder of a target: the warnings of its own graphs that are known and wanted


class GraphCheck(Frozen):
    """One graph in a row of a table: findings, and how far NVIDIA's parser and builder came (None: not asked)."""

    graph: str
    errors: int
    warnings: int
    broken: tuple[str, ...]
    parsed: bool | None
    built: bool | None
    int8_share: float | None
    reason: str


def check_graph(graph: Path) -> GraphCheck:
    """Lint a graph and give it to TensorRT-RTX.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    report, proof = lint_file(graph), prove([graph])
    one = proof.graphs[0] if proof.graphs else None
    return GraphCheck(
        graph=graph.name,
        errors=len(report.errors),
        warnings=len(report.warnings),
        broken=tuple(dict.fromkeys(finding.rule for finding in report.errors)),
        parsed=None if one is None else one.parsed,
        built=None if one is None else one.built,
        int8_share=None if one is None else one.int8_share,
        reason=proof.reason,
    )


def write_checks(folder: Path, target: Target, variants: Sequence[Variant]) -> None:
    """Write ``lint.json`` and ``proof.json`` about the variants' graphs in ``folder``, if TensorRT's rules are the target's.

    Raises:
        GraphError: a graph breaks a rule of severity error, or NVIDIA's parser or builder refuses or cannot judge it.
    """
    if target.profile.rules != "tensorrt":
        return
    accepted = read_accepted(target.folder / ACCEPTED)
    graphs = [folder / variant.files[0] for variant in variants]
    reports = LintReports(graphs=tuple(_report(graph, accepted) for graph in graphs))
    _require_legal(reports)
    proof = prove(graphs)
    _require_accepted(proof)
    write_text(folder / LINT, reports.model_dump_json(indent=1) + "\n")
    write_text(folder / PROOF, proof.model_dump_json(indent=1) + "\n")


def _report(graph: Path, accepted: Sequence[Accepted]) -> LintReport:
    """Lint a graph; one without quantizers has no use for the acceptances, which is not worth saying."""
    report = lint_file(graph, accepted)
    return report if report.quantizers else report.model_copy(update={"unused": ()})


def _require_legal(reports: LintReports) -> None:
    for report in reports.graphs:
        if report.errors:
            first = report.errors[0]
            raise GraphError(
                f"{report.graph} breaks {len(report.errors)} rules for TensorRT {report.tensorrt}",
                expected="no finding of severity error",
                got=f"{first.rule} at {first.node} {first.tensor}: {first.effect}",
                where=report.graph,
                fix=f"{first.fix}; tdss lint lists every finding",
            )


def _require_accepted(proof: Proof) -> None:
    if proof.status in ("refused", "not judged"):
        raise GraphError(
            "NVIDIA's parser or builder refuses a graph"
            if proof.status == "refused"
            else "NVIDIA's parser and builder cannot judge a graph",
            expected="graphs that TensorRT-RTX parses and builds",
            got=proof.reason,
            where="compile/tensorrt_checks/rtx_build.py",
            fix="tdss prove on the graph says more",
        )
