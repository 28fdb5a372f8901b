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
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import JsonValue

from bundle.formats.artifacts import Artifact, Engine, load
from calibration.image_files import ImageFiles
from calibration.sampling import CalibrationSet
from compile.quantization.nncf_calibration import feeds_of, quantize_ir_plainly
from compile.stage.graph_info import GRAPH_FILE, GraphInfo
from compile.stage.store import obtain, seal, stage_key, tool_versions, writing
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


class Contender(Artifact):
    """The graphs of one way to run a model."""

    kind: ClassVar[str] = "contender"


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
        return ImageFiles(paths=self.calibration.paths[:CHECK_IMAGES])


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
    artifact = Engine if kind == OURS else Contender
    inputs = (checkpoint_digest(model.checkpoint), model.calibration.sha256)
    key = stage_key(STAGE, inputs=inputs, settings=_settings(kind, shop.threads), tools=TOOLS)

    def build(out: Path) -> Artifact:
        shop.say(f"{model.name}: making {kind}")
        return MAKERS[kind](model, out, Source(base, shop.threads))

    return obtain(shop.store, artifact, key, build, when_made_again(shop.say))


def _settings(kind: str, threads: int) -> dict[str, JsonValue]:
    """What decides a graph besides the model: ours depends on what the device can do."""
    if kind != OURS:
        return {"kind": kind}
    able = find_target(TARGET).capabilities(RunConfig(threads=threads))
    return {"kind": kind, "capabilities": able.model_dump(mode="json")}


def when_made_again(say: Callable[[str], None]) -> Callable[[str], None]:
    """Pass on that something damaged is made again, not that something was found."""
    return lambda line: say(line) if line.endswith("made again") else None


def _sealed(out: Path, write: Callable[[Path], object]) -> Contender:
    with writing(out, Contender) as folder:
        write(folder)
        tools = tool_versions(*TOOLS)
        seal(Contender, folder, parent=None, inputs=(), outputs=(), settings={}, tools=tools)
    return load(Contender, out)


def _plain(model: Model, out: Path, source: Source) -> Contender:
    def write(folder: Path) -> None:
        _export(model, tuple(model.info.tasks), folder / GRAPH_FILE, source.threads)
        _convert(folder / GRAPH_FILE)

    return _sealed(out, write)


def _singles(model: Model, out: Path, source: Source) -> Contender:
    def write(folder: Path) -> None:
        for task in model.info.tasks:
            path = folder / f"{task}.onnx"
            _export(model, (task,), path, source.threads)
            _convert(path)
            path.unlink()

    return _sealed(out, write)


def _nncf(model: Model, out: Path, source: Source) -> Contender:
    feeds = feeds_of(model.info, model.calibration.paths)
    return _sealed(out, lambda folder: quantize_ir_plainly(source.plain, feeds, folder / "model.xml"))


def _static(model: Model, out: Path, source: Source) -> Contender:
    from targets.reference.static import quantize_statically

    feeds = feeds_of(model.info, model.calibration.paths)
    return _sealed(out, lambda folder: quantize_statically(source.plain, feeds, folder / GRAPH_FILE))


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


MAKERS: dict[str, Callable[[Model, Path, Source], Artifact]] = {
    PLAIN: _plain,
    "singles": _singles,
    "nncf": _nncf,
    "static": _static,
    OURS: _ours,
}
