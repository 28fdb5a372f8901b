"""What the plan of a bundle's quantized graphs must keep beside the plan of its FP16 graph.

    attentions   as many are one kernel: a quantization that splits one reads and writes its logits, per head
    bytes        the kernels read and write fewer bytes, weights included: else INT8 is slower than what it is to beat

The graphs are found by the names that every bundle gives them: f16.onnx, int8.onnx, int8_smooth.onnx, int8_mixed.onnx.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from bundle.formats.tensorrt_checks import Gate, GraphProof

REFERENCE = "f16.onnx"
QUANTIZED = ("int8.onnx", "int8_smooth.onnx", "int8_mixed.onnx")
FUSED = "as many attentions are one kernel as in f16.onnx"
FEWER = "fewer bytes are read and written than in f16.onnx, weights included"
SHOWN = 5
NodeBytes: TypeAlias = Mapping[str, float]
NOTHING: Mapping[str, NodeBytes] = MappingProxyType({})


def gates(
    names: Sequence[str], proofs: Sequence[GraphProof], reason: str = "", spent: Mapping[str, NodeBytes] = NOTHING
) -> tuple[Gate, ...]:
    """Return the gates of a bundle's graphs: none where there is no FP16 graph; not run, for ``reason``, without proofs.

    ``spent`` holds for each graph the bytes that stand for each of its nodes.
    """
    built = {proof.graph: proof for proof in proofs if proof.built}
    found = list[Gate]()
    for name in [name for name in names if name in QUANTIZED] if REFERENCE in names else ():
        missing = [one for one in (REFERENCE, name) if one not in built]
        if missing:
            got = reason or f"{', '.join(missing)} was not built"
            found += [Gate(graph=name, says=says, status="not run", got=got) for says in (FUSED, FEWER)]
        else:
            found += [_fused(built[name], built[REFERENCE]), _fewer(built[name], built[REFERENCE], spent)]
    return tuple(found)


def _fused(one: GraphProof, reference: GraphProof) -> Gate:
    lost = tuple(node for node in one.not_fused if node not in reference.not_fused)
    got = f"{one.fused} of {one.attentions} in {one.graph}, {reference.fused} of {reference.attentions} in {REFERENCE}"
    return Gate(graph=one.graph, says=FUSED, status="failed" if lost else "held", got=got, nodes=lost)


def _fewer(one: GraphProof, reference: GraphProof, spent: Mapping[str, NodeBytes]) -> Gate:
    """Compare bytes; a failing gate names the nodes that more bytes stand for than in FP16's plan, the worst first."""
    got = f"{one.moved_bytes / 1e6:.1f} MB in {one.graph}, {reference.moved_bytes / 1e6:.1f} MB in {REFERENCE}"
    if one.moved_bytes < reference.moved_bytes:
        return Gate(graph=one.graph, says=FEWER, status="held", got=got)
    old = spent.get(REFERENCE, {})
    more = sorted(((size - old.get(node, 0.0), node) for node, size in spent.get(one.graph, {}).items()), reverse=True)
    nodes = tuple(f"{node}: {size / 1e6:.2f} MB more" for size, node in more[:SHOWN] if size > 0)
    return Gate(graph=one.graph, says=FEWER, status="failed", got=got, nodes=nodes)
