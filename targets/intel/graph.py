"""OpenVINO graphs on disk: ONNX → IR, read, and a save whose bytes depend on the graph alone.

OpenVINO names constants by a counter that runs through the whole process (``Transpose_1940``), so the same graph
converted twice gives two files. ``save`` renames them by their position in the graph. An operation's friendly name is
the name of the ONNX *value* it produces: that is what NNCF's ignored patterns see.
"""

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bundle.base.errors import ArtifactError, GraphError
from bundle.formats.outputs import refusal
from targets.intel.runtime import import_openvino, shared_core

if TYPE_CHECKING:
    from openvino import Model

FP16_FROM = 16_384  # bytes
FP16_RANGE = (float(np.finfo(np.float16).tiny), float(np.finfo(np.float16).max))


def convert(onnx_path: Path) -> "Model":
    """Read an ONNX graph as an OpenVINO model with all its precision kept.

    Raises:
        GraphError: OpenVINO refuses the graph.
    """
    openvino = import_openvino()
    if not onnx_path.is_file():
        raise _absent(onnx_path)
    try:
        return openvino.convert_model(onnx_path)
    except _refusals() as error:
        raise GraphError(
            "OpenVINO refuses this graph",
            expected="an ONNX graph of operators it knows",
            got=str(error),
            where=str(onnx_path),
            fix="see which operator the text names, and export it another way",
        ) from error


def read(path: Path) -> "Model":
    """Read an IR (``.xml`` with its ``.bin`` beside it).

    Raises:
        ArtifactError: a file is missing, or cannot be read.
    """
    core = shared_core()
    for needed in (path, path.with_suffix(".bin")):
        if not needed.is_file():
            raise _absent(needed)
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise ArtifactError(
            "this IR cannot be read", expected="an OpenVINO IR", got=str(error), where=str(path), fix="build it again"
        ) from error


def save(model: "Model", path: Path) -> tuple[str, str]:
    """Write ``path`` (``.xml``) and its ``.bin`` without FP16 compression; return both names. The model's constants are renamed.

    Raises:
        OSError: the system refuses to write it.
    """
    name_by_place(model)
    _write(model, path, fp16=False)
    return path.name, path.with_suffix(".bin").name


def save_by_default(model: "Model", path: Path) -> tuple[str, str]:
    """Write ``path`` as OpenVINO's own ``save_model`` does by default: float constants as FP16, unless it is quantized; else as ``save``."""
    name_by_place(model)
    _write(model, path, fp16=True)
    return path.name, path.with_suffix(".bin").name


def store_fp16(path: Path) -> None:
    """Rewrite an IR in place with its float constants stored as FP16; it computes as before.

    That is OpenVINO's own default, which leaves a model with FakeQuantize alone; there the large ones are stored so here.

    Raises:
        ArtifactError: the IR is missing or cannot be read.
        OSError: the system refuses to write it.
    """
    model = read(path)
    _halve_quantized(model)
    name_by_place(model)
    smaller = path.with_name(f"{path.stem}.smaller.xml")
    _write(model, smaller, fp16=True)
    del model  # it maps the weights' file that is replaced now
    smaller.with_suffix(".bin").replace(path.with_suffix(".bin"))
    smaller.replace(path)


def _write(model: "Model", path: Path, *, fp16: bool) -> None:
    try:
        import_openvino().save_model(model, path, compress_to_fp16=fp16)
    except RuntimeError as error:  # "basic_ios::clear: iostream error", whatever the system said
        raise OSError(errno.EIO, refusal(path.parent) or str(error), str(path)) from error


def _halve_quantized(model: "Model") -> None:
    """Put FP16 and a conversion in the place of a quantized model's large float32 constants; compiling folds it away.

    c → Convert(f32)(f16(c)), |f16(c) − c| ≤ 2⁻¹¹·max|c|: a constant too large or too small for that stays, and so do the
    scales, which are small files and multiply every weight.
    """
    openvino = import_openvino()
    operations = model.get_ordered_ops()
    if not any(one.get_type_name() == "FakeQuantize" for one in operations):
        return
    for operation in operations:
        if (
            operation.get_type_name() != "Constant"
            or operation.get_element_type() != openvino.Type.f32
            or operation.get_byte_size() < FP16_FROM
        ):
            continue
        peak = float(np.abs(operation.data).max())
        if peak == 0 or FP16_RANGE[0] <= peak <= FP16_RANGE[1]:
            narrow = openvino.opset13.constant(operation.data.astype(np.float16))
            operation.output(0).replace(openvino.opset13.convert(narrow, "f32").output(0))


def name_by_place(model: "Model") -> None:
    """Rename, in place, what has no name of its own: ``constant_<i>`` and ``<type>_<i>``, i counting in topological order."""
    for index, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if kind == "Constant":
            operation.set_friendly_name(f"constant_{index}")
        elif operation.get_friendly_name() == operation.get_name():
            operation.set_friendly_name(f"{kind}_{index}")


def _refusals() -> tuple[type[Exception], ...]:
    frontend = import_openvino().frontend
    return (
        RuntimeError,
        frontend.GeneralFailure,
        frontend.InitializationFailure,
        frontend.NotImplementedFailure,
        frontend.OpConversionFailure,
        frontend.OpValidationFailure,
    )


def _absent(path: Path) -> ArtifactError:
    return ArtifactError(
        "a graph is missing", expected=path.name, got="no such file", where=str(path.parent), fix="build it again"
    )
