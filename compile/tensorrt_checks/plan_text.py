"""What lint.json and proof.json of a folder say, in lines for people; read without an ONNX library."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from bundle.base.errors import PlanFailed
from bundle.formats.tensorrt_checks import PROOF, Proof, read_lint, read_proof
from bundle.judging import wording


def describe(folder: Path) -> Iterator[str]:
    """Yield what ``lint.json`` and ``proof.json`` of a folder say, a line for each graph; nothing where there are none."""
    lint, proof = read_lint(folder), read_proof(folder)
    for report in () if lint is None else lint.graphs:
        yield (
            f"  {report.graph:<16} {len(report.errors)} lint errors, {len(report.warnings)} warnings, "
            f"{len(report.accepted)} more accepted by name (TensorRT {report.tensorrt})"
        )
    if proof is not None:
        yield f"  proof by NVIDIA's parser and builder: {proof.status}: {proof.reason or proof.builder}"
        yield from graph_lines(proof)


def graph_lines(proof: Proof) -> Iterable[str]:
    """Yield two lines for each graph."""
    for graph in proof.graphs:
        if graph.assumed:
            yield f"  {graph.graph:<16} unknown sizes were taken as {graph.assumed}"
        if not graph.built:
            answer = "parsed, not built" if graph.parsed else "not parsed"
            yield f"  {graph.graph:<16} {'not judged: ' if graph.unjudged else ''}{answer}"
            continue
        share = (
            f"; {graph.int8_share:6.1%} of {graph.macs / 1e6:,.0f} M MACs in INT8, {graph.fp16_share:.1%} in FP16"
            if graph.macs
            else ""
        )
        yield f"  {graph.graph:<16} built{share}"
        yield (
            f"  {'':<16} plan: {graph.kernels} kernels, {graph.moves} only move data, {graph.casts} only convert; {graph.fused} of "
            f"{graph.attentions} attentions fused; {graph.read_bytes / 1e6:.1f} MB read and {graph.written_bytes / 1e6:.1f} MB "
            f"written a frame, and {graph.weight_bytes / 1e6:.1f} MB of weights"
        )
    for gate in proof.gates:
        yield f"  plan check: {gate.says}: {gate.status}, {gate.got}"
        yield from (f"    {node}" for node in gate.nodes)


def require_plan(folder: Path, shipped: Collection[str]) -> None:
    """Do nothing if no plan check of a shipped file in a bundle's ``proof.json`` failed; those that were not run did not.

    Raises:
        PlanFailed: naming every check that failed, and its nodes.
    """
    proof = read_proof(folder)
    failed = [gate for gate in (proof.failed if proof else ()) if gate.graph in shipped]
    if failed:
        raise PlanFailed(
            f"the plans of {', '.join(dict.fromkeys(gate.graph for gate in failed))} fail {wording.plural(len(failed), 'plan check')}",
            expected="; ".join(dict.fromkeys(gate.says for gate in failed)),
            got="; ".join(f"{gate.got}: {', '.join(gate.nodes)}" for gate in failed),
            where=str(folder / PROOF),
            fix="the bundle is whole, and a device chooses by latency; tdss lint names what splits an attention, "
            "python -m studies.placement measures the choices",
        )
