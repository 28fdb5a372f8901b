"""What each way to run a model needs on disk: the checkpoint itself, or graphs made of it, kept by everything that decides them.

plain     the unfolded model exported as it is, and what OpenVINO's own conversion and save make of that
singles   the same for each task alone: its backbone, its adapters, its decoder
nncf      the plain export after ``nncf.quantize`` with its defaults, on OpenVINO's graph
static    the plain export after ONNX Runtime's static quantization with its defaults
ours      fold, export, simplify, rewrite, quantize and build, as the intel target has them; no mixed precision
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from bundle.formats.artifacts import Artifact, Engine
from calibration.image_files import ImageFiles
from calibration.sampling import CalibrationSet
from compile.quantization.nncf_calibration import feeds_of, quantize_by_default
from compile.stage.code_hash import code_hash
from compile.stage.graph_info import GRAPH_FILE, GraphInfo
from compile.stage.store import StageKey, keep, obtain, tool_versions
from targets.base import RunConfig
from targets.folding import rates_of
from targets.table import target as find_target
from tdss.config_file import checkpoint_digest

if TYPE_CHECKING:
    from tdss.model import MultiTaskModel

CHECK_IMAGES = 2
STAGE = "comparison.makers"
TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxsim", "onnxruntime", "nncf", "openvino")
TARGET = "intel"
PLAIN, OURS = "plain", "ours"
QUANTIZED = ("nncf", "static")  # made of the plain export


class Model(NamedTuple):
    """A checkpoint, the contract of what it answers, and the images that calibrate quantizers and check graphs.

    ``network`` makes it in memory: a checkpoint is not loaded where a task is none of bundle/tasks/table.py.
    """

    name: str
    checkpoint: Path
    info: GraphInfo
    calibration: CalibrationSet
    network: "Callable[[], MultiTaskModel]"

    @property
    def check(self) -> ImageFiles:
        """The images on which a graph is compared with what it was made of."""
        return self.calibration.first(CHECK_IMAGES)


class Workshop(NamedTuple):
    """Where graphs are kept, how many threads make them, and who hears of it."""

    store: Path
    threads: int
    say: Callable[[str], None]


class Source(NamedTuple):
    """What a maker works with: the plain export, where it quantizes that one, and how many threads."""

    plain: Path
    threads: int


def make(kind: str, model: Model, shop: Workshop) -> Artifact:
    """Return the graphs of one kind, made or taken from the store.

    Raises:
        ProjectError: a tool is missing or refuses the model.
    """
    base = make(PLAIN, model, shop).file(GRAPH_FILE) if kind in QUANTIZED else Path()
    source = Source(base, shop.threads)
    key = StageKey(
        stage=STAGE,
        inputs=(checkpoint_digest(model.checkpoint), model.calibration.sha256),
        settings=_settings(kind, shop.threads),
        code=code_hash("studies.comparison.makers"),
        tools=tool_versions(*TOOLS),
    )

    def ours(out: Path) -> Engine:
        shop.say(f"{model.name}: making {kind}")
        return _ours(model, out, source)

    def write(folder: Path) -> None:
        shop.say(f"{model.name}: making {kind}")
        WRITERS[kind](model, folder, source)

    return obtain(shop.store, Engine, key, ours, shop.say) if kind == OURS else keep(shop.store, key, write, shop.say)


def _settings(kind: str, threads: int) -> dict[str, JsonValue]:
    """What decides a graph besides the model: ours depends on what the device can do."""
    if kind != OURS:
        return {"kind": kind}
    able = find_target(TARGET).capabilities(RunConfig(threads=threads))
    return {"kind": kind, "capabilities": able.model_dump(mode="json")}


def _plain(model: Model, folder: Path, source: Source) -> None:
    _export(model, tuple(model.info.tasks), folder / GRAPH_FILE, source.threads)
    _convert(folder / GRAPH_FILE)


def _singles(model: Model, folder: Path, source: Source) -> None:
    for task in model.info.tasks:
        path = folder / f"{task}.onnx"
        _export(model, (task,), path, source.threads)
        _convert(path)
        path.unlink()


def _nncf(model: Model, folder: Path, source: Source) -> None:
    from targets.intel.graph import convert, save_by_default

    feeds = feeds_of(model.info, model.calibration)
    quantized = quantize_by_default(convert(source.plain), source.plain, feeds, transformer=False)
    save_by_default(quantized, folder / "model.xml")


def _static(model: Model, folder: Path, source: Source) -> None:
    from targets.reference.static import quantize_statically

    quantize_statically(source.plain, feeds_of(model.info, model.calibration), folder / GRAPH_FILE)


def _ours(model: Model, out: Path, source: Source) -> Engine:
    from compile.build import build
    from compile.quantization.variants import CACHE
    from compile.quantize import quantize
    from compile.rewrite import rewrite
    from studies.stages import folded_module

    target, run = find_target(TARGET), RunConfig(threads=source.threads)
    names = target.rewrites(target.capabilities(run))
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        network = model.network()
        folded = folded_module(
            network.float(), network.config, model.check, scratch, rates_of(TARGET), threads=source.threads
        )
        rewritten = rewrite(folded, scratch / "rewritten", names, model.check, threads=source.threads)
        quantized = quantize(rewritten, model.calibration, scratch / "quantized", target, run, cache=scratch / CACHE)
        return build(quantized, out, target, run)


def _export(model: Model, tasks: tuple[str, ...], path: Path, threads: int) -> None:
    """Export the unfolded model with these tasks only."""
    from compile.export import export_module

    network = model.network()
    network.keep(tasks)
    info = model.info.model_copy(update={"tasks": dict(network.config.tasks)})
    with TemporaryDirectory(dir=path.parent) as scratch:
        exported = export_module(
            network.float(), info, Path(scratch) / "out", model.check, parent=None, threads=threads
        )
        exported.file(GRAPH_FILE).replace(path)


def _convert(path: Path) -> None:
    """Write an ONNX graph as OpenVINO converts and saves it by default, beside it."""
    from targets.intel.graph import convert, save_by_default

    save_by_default(convert(path), path.with_suffix(".xml"))


WRITERS: dict[str, Callable[[Model, Path, Source], None]] = {
    PLAIN: _plain,
    "singles": _singles,
    "nncf": _nncf,
    "static": _static,
}
