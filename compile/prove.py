"""Prove: NVIDIA's own parser and builder take the graphs, and this much of their arithmetic runs in INT8.

TensorRT-RTX (targets/jetson/rtx.py) parses and builds each graph on the CPU; the builder's verbose log names the types
every kernel reads, and the multiply-accumulates of each GEMM and convolution are counted for the narrowest of them.
"""

if not __package__:
    import _path  # noqa: F401

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import onnx_ir as ir
import typer

from bundle.errors import GraphError
from bundle.terminal import print_answer
from compile.lint.read import read_model
from compile.lint.run import view_of
from compile.passes.base import WEIGHTED, gemm_size, place, shape_of
from compile.script import run_script
from report.legal import FloatProduct, GraphProof, Proof
from targets.jetson.rtx import COMPUTE_CAPABILITY, Kernel, build_graph, why_not

GENERATED = "kgen"  # pointwise kernels; products are of other kinds unless they are as small as a pointwise one
TOKEN = re.compile(r"[A-Z][a-z0-9]*")
NAME = re.compile(r"__myl_(\w+?)_myl\d+_\d+$")
MOVES = frozenset({"Conc", "Gath", "Move", "Resh", "Slic", "Tran"})
CONVERSIONS = MOVES | {"Cast", "Max", "Min", "Mul", "Roun"}  # a quantization is Mul, Min, Max, Round, Cast


def prove(graphs: Iterable[Path]) -> Proof:
    """Parse and build each graph; where TensorRT-RTX cannot run, say why and prove nothing.

    Raises:
        GraphError: a file cannot be read as ONNX.
        TargetUnavailable: TensorRT-RTX died.
    """
    models = {path: read_model(path) for path in graphs}
    reason = why_not()
    if reason:
        return Proof(status="not run", reason=reason)
    proofs, builder = [], ""
    for path, model in models.items():
        macs = products(model)
        built = build_graph(path)
        builder = f"TensorRT-RTX {built.version}, compute capability {COMPUTE_CAPABILITY}, on the CPU"
        proofs.append(_judge(path.name, macs, built.kernels).model_copy(
            update={
                "parsed": built.parsed, "built": built.built, "complaints": built.complaints if not built.built else (),
                "engine_bytes": built.engine_bytes,
            }
        ))  # fmt: skip
    refused = [proof.graph for proof in proofs if not proof.built]
    reason = f"{', '.join(refused)}: {'; '.join(_complaints(proofs))}" if refused else ""
    return Proof(status="refused" if refused else "accepted", reason=reason, builder=builder, graphs=tuple(proofs))


def _complaints(proofs: list[GraphProof]) -> list[str]:
    return list(dict.fromkeys(" ".join(text.split())[:300] for proof in proofs for text in proof.complaints[:1]))


def products(model: ir.Model) -> dict[str, int]:
    """Return the multiply-accumulates of every GEMM and convolution whose shapes are known, by node name."""
    found = {}
    for node in view_of(model).each(*WEIGHTED):
        size, out = gemm_size(node), shape_of(node.outputs[0])
        if size is None or out is None or not node.name:
            continue
        values = shape_of(place(node, 0)) or () if node.op_type == "ConvTranspose" else out
        depth = size[1] if node.op_type != "ConvTranspose" else prod((shape_of(place(node, 1)) or ())[1:])
        found[node.name] = prod(values) * depth
    return found


def precision(node: str, kernels: Iterable[Kernel]) -> Literal["int8", "half", "float"]:
    """Return the narrowest type that the kernel computing a product reads; a product no kernel names counts as float."""
    mine = [kernel for kernel in kernels if node in kernel.nodes]
    mine = [kernel for kernel in mine if kernel.kind != GENERATED] or mine
    types = {kind for kernel in mine for kind in kernel.inputs}
    if "Int8" in types:
        return "int8"
    return "half" if "Half" in types else "float"


def _judge(name: str, macs: dict[str, int], kernels: tuple[Kernel, ...]) -> GraphProof:
    by_node = {node: precision(node, kernels) for node in macs}
    total = max(sum(macs.values()), 1)
    share = {kind: sum(macs[node] for node in macs if by_node[node] == kind) / total for kind in ("int8", "half")}
    tokens = [set(TOKEN.findall(found[1])) for kernel in kernels if (found := NAME.match(kernel.name))]
    wide = sorted(((macs[node], node) for node in macs if by_node[node] != "int8"), reverse=True)
    return GraphProof(
        graph=name, parsed=False, built=False, complaints=(), kernels=len(kernels),
        moves=sum(one <= MOVES for one in tokens), casts=sum(one <= CONVERSIONS and not one <= MOVES for one in tokens),
        macs=sum(macs.values()), int8_share=share["int8"], half_share=share["half"],
        not_int8=tuple(FloatProduct(node=node, macs=count) for count, node in wide) if share["int8"] else (),
        engine_bytes=0,
    )  # fmt: skip


@contextmanager
def graphs_of(path: Path) -> Iterator[list[Path]]:
    """Yield the graphs to prove: the file itself, or a private copy of each variant's graph of a bundle.

    Raises:
        ArtifactError: the folder is no bundle, or a file of it was altered.
        GraphError: the bundle holds no ONNX graph.
    """
    if path.is_file():
        yield [path]
        return
    from bundle.manifest import load_bundle

    opened = load_bundle(path)
    found = [variant.files[0] for variant in opened.manifest.variants]
    if any(not name.endswith(".onnx") for name in found):
        raise GraphError(
            "this bundle's graphs are not ONNX", expected="a bundle for jetson", got=opened.manifest.target,
            where=str(path), fix="name a bundle for jetson, or an ONNX file",
        )  # fmt: skip
    with opened.copied(name for variant in opened.manifest.variants for name in variant.files) as folder:
        yield [folder / name for name in found]


def lines(proof: Proof) -> Iterable[str]:
    """Yield the proof as text."""
    yield f"{proof.status}: {proof.reason or proof.builder}"
    yield from graph_lines(proof)
    if proof.graphs:
        yield proof.caveat


def graph_lines(proof: Proof) -> Iterable[str]:
    """Yield a line for each graph."""
    for one in proof.graphs:
        if not one.built:
            yield f"  {one.graph:<16} {'parsed, not built' if one.parsed else 'not parsed'}"
            continue
        kernels = f"{one.kernels} kernels, {one.moves} only move data, {one.casts} only convert"
        share = (
            f"{one.int8_share:6.1%} of {one.macs / 1e6:,.0f} M MACs in INT8, {one.half_share:.1%} in FP16; "
            if one.macs
            else ""
        )
        yield f"  {one.graph:<16} built; {share}{kernels}"


def main(
    model: Annotated[Path, typer.Argument(help="An ONNX file, or a bundle for jetson.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
) -> None:
    """Have NVIDIA's own parser and builder take a graph on the CPU, and count what runs in INT8.

    Exit codes: 0 taken, 1 refused, 2 not readable, 3 TensorRT-RTX is not here.

    Example: tdss prove build/default/jetson --json
    """
    with graphs_of(model) as graphs:
        proof = prove(graphs)
    text = proof.model_dump_json() if as_json else "\n".join(lines(proof))
    print_answer(text)
    if proof.status != "accepted":
        raise SystemExit(3 if proof.status == "not run" else 1)


if __name__ == "__main__":
    run_script(main)
