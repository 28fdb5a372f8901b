"""Prove: NVIDIA's own parser and builder take the graphs, and this is the plan they make of each.

TensorRT-RTX (targets/jetson/rtx.py) parses and builds each graph on the CPU; the builder's verbose log names the tensors
that every kernel reads and writes and the ONNX nodes it computes. From that come the plan's figures: kernels, attentions
that one kernel computes, bytes, kernels that only move data, and the multiply-accumulates by the type they run in.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import onnx_ir as ir
import typer

from bundle.base.errors import ConfigError, GraphError
from bundle.base.terminal import print_answer
from bundle.formats.tensorrt_checks import FloatProduct, GraphProof, Proof
from compile.graphs.attention import Attention, attentions
from compile.graphs.cost import node_macs
from compile.graphs.nodes import WEIGHTED
from compile.graphs.read_onnx import read_model
from compile.stage.command import run_script
from compile.tensorrt_checks.plan_gates import gates
from compile.tensorrt_checks.plan_text import graph_lines
from compile.tensorrt_checks.run import view_of
from targets.jetson.rtx import (
    ALL_KNOWN,
    COMPUTE_CAPABILITY,
    Kernel,
    RtxBuild,
    Shapes,
    Tensor,
    build_graph,
    shape_options,
    unavailable,
)

OPERANDS = 2
GENERATED = "kgen"  # pointwise kernels; products are of other kinds unless they are as small as a pointwise one
TOKEN = re.compile(r"[A-Z][a-z0-9]*")
NAME = re.compile(r"__myl_(\w+?)_myl\d+_\d+$")
SIZES = re.compile(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*")
MOVES = frozenset({"Conc", "Gath", "Move", "Resh", "Slic", "Tran"})
PRODUCT = "Fc"
CONVERSIONS = MOVES | {"Cast", "Max", "Min", "Mul", "Roun"}  # a quantization is Mul, Min, Max, Round, Cast


def prove(graphs: Iterable[Path], shapes: Shapes = ALL_KNOWN) -> Proof:
    """Parse and build each graph; where TensorRT-RTX cannot run, say why and prove nothing.

    ``shapes`` holds input shapes that a graph leaves open, and the values of inputs that are shapes.

    Raises:
        GraphError: a file cannot be read as ONNX, or has no input of a name in ``shapes``.
    """
    models = {path: read_model(path) for path in graphs}
    names, reason = [path.name for path in models], unavailable()
    if reason:
        return Proof(status="not run", reason=reason, gates=gates(names, (), reason))
    proofs, builder, spent = [], "", dict[str, dict[str, float]]()
    for path, model in models.items():
        _check_names(model, shapes, path)
        built = build_graph(path, shapes)
        spent[path.name] = node_bytes(built.kernels)
        builder = f"TensorRT-RTX {built.version}, compute capability {COMPUTE_CAPABILITY}, on the CPU"
        proofs.append(_judge(path.name, model, built))
    status, reason = _verdict(proofs)
    return Proof(
        status=status, reason=reason, builder=builder, graphs=tuple(proofs), gates=gates(names, proofs, spent=spent)
    )


def _check_names(model: ir.Model, shapes: Shapes, path: Path) -> None:
    known = [value.name for value in model.graph.inputs]
    if wrong := sorted(name for name in shapes if name not in known):
        raise GraphError(
            f"{path.name} has no input {wrong[0]!r}",
            expected=", ".join(map(str, known)),
            got=wrong[0],
            where="--shape",
            fix="name one of its inputs",
        )


def _verdict(proofs: list[GraphProof]) -> tuple[Literal["accepted", "refused", "not judged"], str]:
    """Return the answer about all graphs, and the reasons; one refusal decides, then one graph that was not judged."""
    refused = [proof for proof in proofs if not proof.built and not proof.unjudged]
    if refused:
        return "refused", f"{', '.join(proof.graph for proof in refused)}: {'; '.join(_complaints(refused))}"
    unjudged = [proof for proof in proofs if proof.unjudged]
    reasons = [" ".join(f"{proof.graph}: {proof.unjudged}".split()) for proof in unjudged]
    words = _complaints(unjudged)
    return ("not judged", "; ".join([*reasons, *words])) if unjudged else ("accepted", "")


def _complaints(proofs: list[GraphProof]) -> list[str]:
    return list(dict.fromkeys(" ".join(text.split())[:300] for proof in proofs for text in proof.complaints[:1]))


def products(model: ir.Model) -> dict[str, int]:
    """Return the multiply-accumulates of every GEMM and convolution whose shapes are known, by the parser's name for it."""
    found = {_parser_name(node): node_macs(node) for node in view_of(model).each(*WEIGHTED)}
    return {name: macs for name, macs in found.items() if macs is not None}


def precision(node: str, kernels: Iterable[Kernel]) -> Literal["int8", "fp16", "float"]:
    """Return the type in which the kernel of a product multiplies; a product no kernel names counts as float.

    It is INT8 where the kernel reads both operands so and multiplies them as they are. A kernel that reads an INT8 activation
    and a weight in FP16 (which another kernel dequantized) multiplies in FP16. One that casts what it reads before it
    multiplies, does so in float.
    """
    mine = [kernel for kernel in kernels if node in kernel.nodes]
    mine = [kernel for kernel in mine if kernel.kind != GENERATED] or mine
    read = [(kernel, [tensor.type for tensor in (*kernel.inputs, *kernel.constants)]) for kernel in mine]
    if any(types.count("Int8") >= OPERANDS and not _casts(kernel) for kernel, types in read):
        return "int8"
    return "fp16" if any("Half" in types for _, types in read) else "float"


def _steps(kernel: Kernel) -> list[str]:
    """Return the steps that a generated kernel's name lists; none of another kernel."""
    found = NAME.match(kernel.name)
    return TOKEN.findall(found[1]) if found else []


def _casts(kernel: Kernel) -> bool:
    """Say whether a kernel casts INT8 operands before it multiplies them."""
    steps = _steps(kernel)
    return "Cast" in steps[: steps.index(PRODUCT) if PRODUCT in steps else len(steps)]


def _judge(name: str, model: ir.Model, built: RtxBuild) -> GraphProof:
    kernels, macs = built.kernels, products(model)
    by_node = {node: precision(node, kernels) for node in macs}
    total = max(sum(macs.values()), 1)
    share = {kind: sum(macs[node] for node in macs if by_node[node] == kind) / total for kind in ("int8", "fp16")}
    moving = [kernel for kernel in kernels if _does_only(kernel, CONVERSIONS)]
    wide = sorted(((macs[node], node) for node in macs if by_node[node] != "int8"), reverse=True)
    found = list(attentions(view_of(model).nodes))
    return GraphProof(
        graph=name,
        parsed=built.parsed,
        built=built.built,
        unjudged=built.unjudged,
        assumed=shape_options(built.assumed),
        complaints=() if built.built else built.complaints,
        kernels=len(kernels),
        moves=sum(_does_only(kernel, MOVES) for kernel in moving),
        casts=sum(not _does_only(kernel, MOVES) for kernel in moving),
        attentions=len(found),
        not_fused=tuple(_parser_name(one.first) for one in found if not _is_fused(one, kernels)),
        read_bytes=_bytes(tensor for kernel in kernels for tensor in kernel.inputs),
        written_bytes=_bytes(tensor for kernel in kernels for tensor in kernel.outputs),
        weight_bytes=_bytes(tensor for kernel in kernels for tensor in kernel.constants),
        macs=sum(macs.values()),
        int8_share=share["int8"],
        fp16_share=share["fp16"],
        not_int8=tuple(FloatProduct(node=node, macs=count) for count, node in wide) if share["int8"] else (),
        engine_bytes=built.engine_bytes,
    )


def _is_fused(attention: Attention, kernels: Iterable[Kernel]) -> bool:
    """Say whether one kernel computes both products of an attention, and the softmax between them."""
    wanted = {_parser_name(node) for node in (attention.first, attention.softmax, attention.second)}
    return any(wanted <= set(kernel.nodes) for kernel in kernels)


def _parser_name(node: ir.Node) -> str:
    """Return what NVIDIA's parser calls a node."""
    return node.name or f"node_of_{node.outputs[0].name}"


def node_bytes(kernels: Iterable[Kernel]) -> dict[str, float]:
    """Return the bytes that stand for each node: those of its kernels, in equal parts among a kernel's nodes."""
    found = dict[str, float]()
    for kernel in kernels:
        part = _bytes((*kernel.inputs, *kernel.constants, *kernel.outputs)) / max(len(kernel.nodes), 1)
        for node in kernel.nodes:
            found[node] = found.get(node, 0.0) + part
    return found


def _does_only(kernel: Kernel, steps: frozenset[str]) -> bool:
    """Say whether a generated kernel's name, which lists its steps, has no others."""
    mine = _steps(kernel)
    return bool(mine) and set(mine) <= steps


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size_bytes for tensor in tensors)


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
    from bundle.formats.manifest import load_bundle

    opened = load_bundle(path)
    found = [variant.files[0] for variant in opened.manifest.variants]
    if any(not name.endswith(".onnx") for name in found):
        raise GraphError(
            "this bundle's graphs are not ONNX",
            expected="a bundle for jetson",
            got=opened.manifest.target,
            where=str(path),
            fix="name a bundle for jetson, or an ONNX file",
        )
    with opened.copied(name for variant in opened.manifest.variants for name in variant.files) as folder:
        yield [folder / name for name in found]


def lines(proof: Proof) -> Iterable[str]:
    """Yield the proof as text."""
    yield f"{proof.status}: {proof.reason or proof.builder}"
    yield from graph_lines(proof)
    if proof.graphs:
        yield proof.caveat


def read_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Read shapes as they are typed: NAME=1x3x224x224.

    Raises:
        ConfigError: one is not written so.
    """
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not SIZES.fullmatch(sizes):
            raise ConfigError(
                "this is no shape of an input",
                expected="NAME=1x3x224x224",
                got=text,
                where="--shape",
                fix="name an input and its sizes; the values, if the input is a shape itself",
            )
        shapes[name] = tuple(map(int, sizes.split("x")))
    return shapes


def main(
    model: Annotated[Path, typer.Argument(help="An ONNX file, or a bundle for jetson.")],
    shape: Annotated[
        list[str] | None,
        typer.Option(help="An input's shape, NAME=1x3x224x224; of an input that is a shape itself, its values."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the proof as JSON.")] = False,
) -> None:
    """Have NVIDIA's own parser and builder take a graph on the CPU, and print the plan they make of it.

    Exit codes: 0 accepted, 1 refused or a plan check failed, 2 not readable, 3 not judged or TensorRT-RTX is not here.

    Example: tdss prove model.onnx --shape image=1x3x224x224
    """
    shapes = read_shapes(shape or ())
    with graphs_of(model) as graphs:
        proof = prove(graphs, shapes)
    text = proof.model_dump_json() if as_json else "\n".join(lines(proof))
    print_answer(text)
    if proof.status != "accepted" or proof.failed:
        raise SystemExit(3 if proof.status in ("not judged", "not run") else 1)


if __name__ == "__main__":
    run_script(main)
