"""The numeric check at the end of each stage: how far its graph is from its predecessor, on real images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import GraphError
from bundle.base.frozen import Frozen
from bundle.base.nullable_float import NullableFloat
from bundle.tasks.metrics import sum_of_products
from compile.stage.graph_info import GRAPH_FILE, GraphInfo
from targets.base import RunConfig, Session, Variant
from targets.reference.target import F32, REFERENCE

if TYPE_CHECKING:
    import onnx_ir as ir

Array: TypeAlias = NDArray[np.generic]
Outputs: TypeAlias = Mapping[str, Array]

TOLERANCE = {
    "prepare": 1e-5,  # a file of another exporter against its prepared form: as simplify
    "import": 1e-4,  # a network as it was given against its adapted form: as export
    "export": 1e-4,  # float32 against float32, other kernels and other order of sums; measured 2e-7 to 3e-6
    "simplify": 1e-5,  # the same operators in the same order, constants folded; measured 0 to 1e-6
    "rewrite": 1e-5,  # the same numbers, summed in another order; measured 2e-7 to 2e-6
    "convert": 1e-4,  # ONNX Runtime against the target's runtime at f32; measured 3e-7 to 3e-6
}


class OutputError(Frozen):
    """How far one output is from its reference over all images.

    ``relative`` is ‖got − reference‖₂ / ‖reference‖₂ of a float output, infinite where only the reference is 0 everywhere;
    of a label map it is the share of unequal pixels.
    """

    output: str
    relative: NullableFloat
    max_abs: NullableFloat


def compare(got: Sequence[Outputs], reference: Sequence[Outputs]) -> tuple[OutputError, ...]:
    """Compare the outputs for each image; both sequences hold one mapping per image, with the same names.

    Raises:
        GraphError: a name, shape or dtype differs, or a value is not finite where the reference's is.
    """
    names = list(reference[0])
    for index, (one, other) in enumerate(zip(got, reference, strict=True)):
        for name in names:
            _check_like(name, one.get(name), other[name], index)
    return tuple(_error(name, [one[name] for one in got], [other[name] for other in reference]) for name in names)


def require(
    stage: str, errors: Sequence[OutputError], floors: Callable[[], Mapping[str, float]]
) -> tuple[OutputError, ...]:
    """Return ``errors`` if each is within the stage's tolerance, relative to the output or to its floor.

    ``floors`` gives the size below which an output is too small to be measured against itself; it is asked only where the
    relative error is beyond (``compile.graphs.output_floors.comparison_floors``).

    Raises:
        GraphError: naming every output that is not.
    """
    tolerance = TOLERANCE[stage]
    beyond = [error for error in errors if not error.relative <= tolerance]
    allowed = floors() if beyond else {}
    beyond = [error for error in beyond if not error.max_abs <= tolerance * allowed.get(error.output, np.nan)]
    if beyond:
        raise GraphError(
            f"{stage} changed what the model computes: output {', '.join(repr(error.output) for error in beyond)}",
            expected=f"relative error at most {tolerance:g}",
            got=", ".join(f"{error.relative:.3g} (largest difference {error.max_abs:.3g})" for error in beyond),
            where=f"the check that ends {stage}",
            fix="report it: this is a defect of the stage or of the tool it calls",
        )
    return tuple(errors)


def open_graph(path: Path, *, exact: bool, threads: int) -> Session:
    """Open an ONNX graph in ONNX Runtime; ``exact`` computes Q/DQ as the operators are defined."""
    recipe = F32.model_copy(update={"graph": "quantized" if exact else "float"})
    variant = Variant(recipe=recipe, files=(path.name,))
    return REFERENCE.open(path.parent, variant, RunConfig(threads=threads), "auto", keep=path.parent)


def run_graph(graph: Path, info: GraphInfo, feeds: Sequence[Outputs], *, exact: bool, threads: int) -> list[Outputs]:
    """Run an ONNX graph in ONNX Runtime on every feed; ``exact`` computes Q/DQ as the operators are defined.

    Raises:
        GraphError: the graph's inputs or outputs are not those of ``info``, or ONNX Runtime refuses it.
    """
    with open_graph(graph, exact=exact, threads=threads) as session:
        _check_interface(session, info, graph)
        return [session.infer(feed) for feed in feeds]


def run_model(model: "ir.Model", feeds: Sequence[Outputs], *, exact: bool = False, threads: int) -> list[Outputs]:
    """Run a graph in memory, of any inputs and outputs, in ONNX Runtime on every feed, as ``run_graph`` does.

    Raises:
        GraphError: ONNX Runtime refuses it.
    """
    from onnx_ir import save

    with TemporaryDirectory() as scratch:
        path = Path(scratch) / GRAPH_FILE
        save(model, path, external_data=f"{GRAPH_FILE}.data")
        with open_graph(path, exact=exact, threads=threads) as session:
            return [session.infer(feed) for feed in feeds]


def _check_interface(session: Session, info: GraphInfo, graph: Path) -> None:
    if (session.inputs, session.outputs) != info.interface:
        raise GraphError(
            "the graph's inputs or outputs are not what its record says",
            expected=f"{info.interface}",
            got=f"{(session.inputs, session.outputs)}",
            where=str(graph),
            fix="export the model again",
        )


def _check_like(name: str, got: Array | None, reference: Array, index: int) -> None:
    found = "no such output" if got is None else f"{got.dtype} {got.shape}"
    if got is None or found != f"{reference.dtype} {reference.shape}":
        raise GraphError(
            f"output {name!r} is not what the predecessor gives",
            expected=f"{reference.dtype} {reference.shape}",
            got=found,
            where=f"image {index}",
            fix="report it: a stage must keep names, types and shapes",
        )
    if not np.isfinite(got.astype(np.float64)).all():
        raise GraphError(
            f"output {name!r} is not finite",
            expected="finite numbers",
            got="NaN or infinity",
            where=f"image {index}",
            fix="check the checkpoint's weights; keep the layers that overflow in float32",
        )


def _error(name: str, got: list[Array], reference: list[Array]) -> OutputError:
    one, other = np.stack(got), np.stack(reference)
    if np.issubdtype(other.dtype, np.integer):
        unequal = float(np.mean(one != other))
        return OutputError(output=name, relative=unequal, max_abs=float(np.max(one != other)))
    expected = other.astype(np.float64).ravel()
    wrong = one.astype(np.float64).ravel() - expected
    difference, norm = (float(np.sqrt(sum_of_products(values, values))) for values in (wrong, expected))
    relative = difference / norm if norm else np.inf if difference else difference
    return OutputError(output=name, relative=relative, max_abs=float(np.abs(wrong).max()))
