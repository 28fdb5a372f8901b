"""What the rules and NVIDIA's parser say about a bundle's graphs: lint.json and proof.json, and how the page shows them."""

from pathlib import Path

from bundle.base.frozen import Frozen
from bundle.formats.tensorrt_checks import (
    Finding,
    Gate,
    GraphProof,
    LintReport,
    LintReports,
    Proof,
    read_lint,
    read_proof,
)
from bundle.judging import wording


class GraphRow(Frozen):
    """One graph of the page's table, every string ready to print."""

    graph: str
    errors: str
    warnings: str
    accepted: str
    built: str


class PlanRow(Frozen):
    """What the builder made of one graph, every string ready to print."""

    graph: str
    kernels: str
    fused: str
    read: str
    written: str
    weights: str
    moves: str
    casts: str
    int8: str
    fp16: str


class GateRow(Frozen):
    """One plan check; ``where`` names the nodes that fail it."""

    graph: str
    says: str
    status: str
    got: str
    where: str


class WarningRow(Frozen):
    """One warning of the page, or those of one rule that were accepted for one reason."""

    graph: str
    rule: str
    where: str
    effect: str
    outcome: str


class LegalView(Frozen):
    """The section of the page; without rows the target has no rules, and there is no section."""

    summary: str = ""
    caveat: str = ""
    graphs: tuple[GraphRow, ...] = ()
    plans: tuple[PlanRow, ...] = ()
    gates: tuple[GateRow, ...] = ()
    warnings: tuple[WarningRow, ...] = ()


def legal_view(folder: Path) -> LegalView:
    """Return what the page shows of the rules and the proof of a bundle.

    Raises:
        ArtifactError: lint.json or proof.json holds something else.
    """
    lint, proof = read_lint(folder), read_proof(folder)
    if lint is None:
        return LegalView()
    proofs = {} if proof is None else {one.graph: one for one in proof.graphs}
    rows = tuple(_graph(report, proofs.get(report.graph)) for report in lint.graphs)
    return LegalView(
        summary=_summary(lint, proof),
        caveat=proof.caveat if proofs and proof is not None else "",
        graphs=rows,
        plans=tuple(_plan(one) for one in proofs.values() if one.built),
        gates=() if proof is None else tuple(_gate(gate) for gate in proof.gates),
        warnings=tuple(row for report in lint.graphs for row in _warnings(report)),
    )


def _summary(lint: LintReports, proof: Proof | None) -> str:
    versions = ", ".join(dict.fromkeys(report.tensorrt for report in lint.graphs))
    proven = "NVIDIA's own parser and builder were not asked: no proof.json."
    if proof is not None and proof.status == "not run":
        proven = f"NVIDIA's own parser and builder were not run: {proof.reason}."
    elif proof is not None:
        proven = f"NVIDIA's own parser and builder: {proof.status}, by {proof.builder}. {proof.reason}".strip()
    return f"Checked against the rules of TensorRT {versions}. {proven}"


def _graph(report: LintReport, proof: GraphProof | None) -> GraphRow:
    built = "not run" if proof is None else "yes" if proof.built else "no"
    return GraphRow(
        graph=report.graph,
        errors=str(len(report.errors)),
        warnings=str(len(report.warnings)),
        accepted=str(len(report.accepted)),
        built=built,
    )


def _plan(proof: GraphProof) -> PlanRow:
    read, written, weights = (
        f"{size / 1e6:.1f}" for size in (proof.read_bytes, proof.written_bytes, proof.weight_bytes)
    )
    return PlanRow(
        graph=proof.graph,
        kernels=wording.count(proof.kernels),
        fused=f"{proof.fused} of {proof.attentions}",
        read=read,
        written=written,
        weights=weights,
        moves=str(proof.moves),
        casts=str(proof.casts),
        int8=f"{proof.int8_share:.1%}",
        fp16=f"{proof.fp16_share:.1%}",
    )


def _gate(gate: Gate) -> GateRow:
    return GateRow(graph=gate.graph, says=gate.says, status=gate.status, got=gate.got, where="; ".join(gate.nodes))


def _warnings(report: LintReport) -> list[WarningRow]:
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in (*report.warnings, *report.accepted):
        groups.setdefault((finding.rule, finding.accepted or finding.node), []).append(finding)
    return [_row(report.graph, findings) for findings in groups.values()]


def _row(graph: str, findings: list[Finding]) -> WarningRow:
    first, more = findings[0], len(findings) - 1
    where = first.node + (f" and {more} more" if more else "")
    outcome = f"accepted: {first.accepted}" if first.accepted else f"fix: {first.fix}"
    return WarningRow(graph=graph, rule=first.rule, where=where, effect=first.effect, outcome=outcome)
