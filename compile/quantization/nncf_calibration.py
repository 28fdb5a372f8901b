"""Calibrate: NNCF puts quantizers into a graph from what it sees on calibration images; the one module that imports it.

What it makes is kept in a store (compile/stage/store.py). So a second question about the same calibration, with another
pass list or in a search for mixed precision, costs nothing.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from bundle.base.errors import DatasetError, GraphError, not_installed
from bundle.base.telemetry import switch_off_telemetry
from bundle.base.terminal import say
from bundle.formats.artifacts import hash_file
from calibration.image_files import ImageFiles
from calibration.sampling import CalibrationSet
from compile.quantization.ignored_nodes import ignored_nodes, value_names
from compile.stage.graph_info import Array, GraphInfo
from compile.stage.store import Root, StageKey, keep, stage_key
from targets.base import QuantizationScheme
from targets.graph_format import Graph, GraphFormat

if TYPE_CHECKING:
    from nncf import AdvancedQuantizationParameters

NAME = "calibrated"
UNEXPECTED = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""What NNCF ends with inside, on graphs that it did not foresee: a weight behind a Transpose, an unknown shape."""


class CalibrationRequest(NamedTuple):
    """What a calibration depends on: the float graph, its contract, the images, how to quantize and in which format.

    ``threads`` 0 leaves their number to the runtime that NNCF runs the graph with.
    """

    source: Path
    info: GraphInfo
    calibration: CalibrationSet
    scheme: QuantizationScheme
    format: GraphFormat
    threads: int = 0


def cache_key(request: CalibrationRequest) -> StageKey:
    """Name everything the answer depends on."""
    settings: dict[str, JsonValue] = {
        "ids": list(request.calibration.ids),
        "preprocess": request.info.preprocess.model_dump(mode="json"),
        "scheme": request.scheme.model_dump(mode="json"),
        "format": request.format.name,
        "threads": request.threads,
        "kept": [*sorted(ignored_nodes(request.source, request.scheme))],
    }
    inputs = (hash_file(request.source), request.calibration.sha256)
    return stage_key("calibrate", inputs=inputs, settings=settings)


def calibrate(request: CalibrationRequest, store: Root) -> Path:
    """Return the graph with NNCF's quantizers, from the store or, if it is not there, made and kept.

    Raises:
        DatasetError: there is no calibration image, or one has another size or type than the model takes.
        GraphError: NNCF refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """
    name = NAME + request.format.suffix
    return keep(store, cache_key(request), lambda folder: write_calibrated(request, folder / name), say).file(name)


def write_calibrated(request: CalibrationRequest, path: Path) -> None:
    """Quantize and write the graph as ``path``; raises as ``calibrate`` does."""
    kept = value_names(request.source, ignored_nodes(request.source, request.scheme))

    def quantize(model: Graph, kept: list[str]) -> Graph:
        return run_nncf(model, request, kept)

    request.format.insert_quantizers(request.source, kept, quantize, path)


def run_nncf(model: Graph, request: CalibrationRequest, kept: list[str]) -> Graph:
    """Return ``model`` quantized, except the operations named in ``kept``; raises as ``calibrate`` does."""
    nncf = _import_nncf()
    scheme = request.scheme
    feeds = feeds_of(request.info, request.calibration)
    if not feeds:
        raise DatasetError(
            "there is no calibration image",
            expected="at least 1",
            got="0",
            where="quantize",
            fix="give a folder with images, or a larger count",
        )
    kind = nncf.ModelType.TRANSFORMER if scheme.model_type == "transformer" else None
    try:
        with quiet(), limited(request.threads):
            quantized: Graph = nncf.quantize(
                model,
                nncf.Dataset(feeds),
                preset=nncf.QuantizationPreset(scheme.preset),
                model_type=kind,
                target_device=nncf.TargetDevice.ANY,
                subset_size=len(feeds),
                fast_bias_correction=scheme.fast_bias_correction,
                ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
                advanced_parameters=_advanced(scheme),
            )
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError, *UNEXPECTED) as error:
        raise _refused(request.source, error) from error
    return quantized


def quantize_plainly(source: Path, feeds: Sequence[dict[str, Array]], out: Path, *, transformer: bool) -> None:
    """Write an ONNX graph as ``nncf.quantize`` leaves it by default, or with its model type TRANSFORMER and nothing else.

    Raises:
        GraphError: NNCF refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """
    import onnx

    onnx.save(quantize_by_default(onnx.load(source), source, feeds, transformer=transformer), out)


def quantize_by_default(model: Graph, source: Path, feeds: Sequence[dict[str, Array]], *, transformer: bool) -> Graph:
    """Return ``model``, made from ``source``, as ``nncf.quantize`` leaves it by default; raises as ``quantize_plainly`` does."""
    nncf = _import_nncf()
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    try:
        with quiet():
            quantized: Graph = nncf.quantize(model, nncf.Dataset(list(feeds)), model_type=kind, subset_size=len(feeds))
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError) as error:
        raise _refused(source, error) from error
    return quantized


def accuracy_control(
    model: Graph,
    request: CalibrationRequest,
    kept: list[str],
    validate: Callable[[Graph, Iterable[int]], tuple[float, None]],
    images: int,
    *,
    ranking_images: int,
) -> Graph:
    """Return ``model`` as NNCF's accuracy control leaves it; ``validate`` gets a graph and the indices of images.

    Its float must be 1 for the float graph and at least 0 for one that is good enough; raises as ``calibrate`` does.
    """
    nncf, scheme = _import_nncf(), request.scheme
    feeds = feeds_of(request.info, request.calibration)
    kind = nncf.ModelType.TRANSFORMER if scheme.model_type == "transformer" else None
    restorer = nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=ranking_images)
    try:
        with quiet(), limited(request.threads):
            controlled: Graph = nncf.quantize_with_accuracy_control(
                model,
                nncf.Dataset(feeds),
                nncf.Dataset(list(range(images))),
                validate,
                max_drop=1.0,
                drop_type=nncf.DropType.ABSOLUTE,
                preset=nncf.QuantizationPreset(scheme.preset),
                model_type=kind,
                subset_size=len(feeds),
                fast_bias_correction=scheme.fast_bias_correction,
                ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
                advanced_quantization_parameters=_advanced(scheme),
                advanced_accuracy_restorer_parameters=restorer,
            )
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError) as error:
        raise _refused(request.source, error) from error
    return controlled


def feeds_of(info: GraphInfo, images: ImageFiles) -> list[dict[str, Array]]:
    """Read images as the graph takes them.

    Raises:
        DatasetError: an image cannot be read, or has another size or type than the model takes.
    """
    return [info.feed(image, name=name) for name, image in images.read()]


def weights_only(path: Path, out: Path, form: GraphFormat) -> tuple[str, ...]:
    """Write a graph of a format with its matrices stored as INT8, one scale per output channel; return the files' names.

    Convolutions keep theirs: OpenVINO 2026.4's CPU plugin takes the INT8 weights of one convolution for another's of the same
    shape, without an error (six equal heads: the first task's answer is right, the others' relative errors are .2 to 2.6).

    Raises:
        GraphError: NNCF refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """

    def compress(model: Graph, kept: list[str]) -> Graph:
        nncf = _import_nncf()
        try:
            with quiet():
                scope = nncf.IgnoredScope(names=kept, types=["Convolution", "GroupConvolution"], validate=False)
                compressed: Graph = nncf.compress_weights(
                    model, mode=nncf.CompressWeightsMode.INT8_SYM, ignored_scope=scope
                )
        except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError) as error:
            raise _refused(path, error) from error
        return compressed

    return form.insert_quantizers(path, {}, compress, out)


def _refused(path: Path, error: Exception) -> GraphError:
    return GraphError(
        "NNCF refuses this graph",
        expected="a graph it can quantize",
        got=f"{type(error).__name__}: {error}",
        where=str(path),
        fix="see which node the text names; a pattern in the target's scheme keeps it in float",
    )


def _advanced(scheme: QuantizationScheme) -> "AdvancedQuantizationParameters":
    parameters = _import_nncf().quantization.advanced_parameters
    alpha = -1.0 if scheme.smooth_quant_alpha == "off" else scheme.smooth_quant_alpha
    depthwise = scheme.per_channel_depthwise_activations
    activations = None if depthwise else parameters.QuantizationParameters(per_channel=False)
    advanced: AdvancedQuantizationParameters = parameters.AdvancedQuantizationParameters(
        overflow_fix=parameters.OverflowFix(scheme.overflow_fix),
        smooth_quant_alphas=parameters.AdvancedSmoothQuantParameters(convolution=-1.0, matmul=alpha),
        activations_quantization_params=activations,
    )
    return advanced


def _import_nncf() -> ModuleType:
    switch_off_telemetry()
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise not_installed(
            "quantization", "nncf", extra="host", where="compile.quantization.nncf_calibration", error=error
        ) from error
    return nncf  # type: ignore[no-any-return,unused-ignore]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep NNCF's progress bars off standard output and its notes below a warning out of the log."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Let NNCF run graphs on that many threads; 0 changes nothing.

    It opens ONNX Runtime and OpenVINO with their default options: a thread for each CPU, which spins where it waits.
    """
    if not threads:
        yield
        return
    switch_off_telemetry()
    import nncf.onnx.engine as onnx_engine
    import nncf.openvino.engine as openvino_engine

    runtime, openvino = onnx_engine.rt, openvino_engine.ov

    def options() -> object:
        made = runtime.SessionOptions()
        made.intra_op_num_threads = threads
        return made

    def core() -> object:
        made = openvino.Core()
        made.set_property("CPU", {"INFERENCE_NUM_THREADS": threads})
        return made

    onnx_engine.rt = SimpleNamespace(SessionOptions=options, InferenceSession=runtime.InferenceSession)
    openvino_engine.ov = SimpleNamespace(Core=core)
    try:
        yield
    finally:
        onnx_engine.rt, openvino_engine.ov = runtime, openvino
