"""The graphs that ``make bench-fold`` times, made by the project's own stages, and the fold's own time, memory and error.

Every graph is exported, simplified and folded like a build's; those that are to be rewritten run each runtime's rewrites.
The fold is the command a person types, in a process of its own, so that its time and its peak memory are its own.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from onnx_ir import save as save_graph
from torch import Tensor, nn

from bundle.base.errors import CheckpointError
from bundle.base.frozen import Frozen
from bundle.base.isolated import module
from bundle.base.terminal import say
from bundle.formats.artifacts import Folded, load, write_text
from bundle.formats.outputs import anything, replacing
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles
from compile.folding.engine import fold_graph
from compile.folding.graph_file import read_graph
from compile.graphs.passes.table import apply_passes
from compile.graphs.torch_export import to_onnx
from compile.stage.artifacts import folding_of
from compile.stage.code_hash import ROOT, code_hash
from compile.stage.graph_info import GRAPH_FILE, INPUT
from compile.stage.store import Kept, StageKey, keep
from studies.folding.kernels import PART
from studies.folding.models import AdapterPart, Form, batch_tasks, random_model, swin_t, tiny
from studies.stages import folded_module, simplified_module
from targets.base import Array
from targets.folding import rates_of
from tdss.adapters.config import Gate
from tdss.backbones.config import SwinConfig
from tdss.backbones.swin import stage_sizes
from tdss.card import Card
from tdss.checkpoint import write
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel

Preset: TypeAlias = Literal["swin-t", "tiny"]
GATES: tuple[Gate, ...] = ("static", "dynamic")
SEED = 0
FOLDED, COST = f"folded/{GRAPH_FILE}", "cost.json"
RATES_OF = "reference"  # whose costs fold the graphs of both runtimes
TASK_COUNTS: dict[Preset, tuple[int, ...]] = {"swin-t": (1, 2, 4, 6), "tiny": (1, 2)}


class FoldCost(Frozen):
    """What folding one graph took: seconds of wall and of CPU time, MiB at the peak, the worst relative errors."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    float64: float
    float32: float


class Graph(NamedTuple):
    """One graph to time. ``rewritten``: the runtime's rewrites are run on it first."""

    name: str
    path: Path
    feed: Mapping[str, Array]
    rewritten: bool


class Made(NamedTuple):
    """Everything that is timed, what folding cost by gate, and the eager outputs of the unfolded models by gate."""

    graphs: tuple[Graph, ...]
    folds: dict[Gate, FoldCost]
    eager: dict[Gate, dict[str, Array]]


def config_of(preset: Preset, gate: Gate | None, *, tasks: int = 6) -> ModelConfig:
    """Return the preset's configuration."""
    return (swin_t if preset == "swin-t" else tiny)(gate, tasks=tasks)


def make_graphs(preset: Preset, out: Path, *, threads: int) -> Made:
    """Make every graph of the benchmark in ``out``, or take what is there; threads are the checks'."""
    config = config_of(preset, None)
    images = write_image(out / f"{preset}-images", config)
    feed = {INPUT: Preprocess(**config.image.model_dump()).apply(_read(images), name="image")}
    folds = {gate: _fold_once(preset, gate, images, out) for gate in GATES}
    eager = {gate: _run(random_model(config_of(preset, gate), SEED), feed) for gate in GATES}
    graphs = [Graph(f"folded_{gate}", folds[gate].file(FOLDED), feed, True) for gate in GATES]
    for name, (make, rewritten) in _recipes(preset).items():

        def write(
            folder: Path, make: Callable[[], MultiTaskModel] = make, rewritten: bool = rewritten, name: str = name
        ) -> None:
            say(f"  {name}")
            stages = partial(folded_module, rates=rates_of(RATES_OF)) if rewritten else simplified_module
            stages(make(), config, images, folder, threads=threads)

        graph = ("folded" if rewritten else "simplified") + f"/{GRAPH_FILE}"
        graphs.append(Graph(name, keep(out, _key(preset, name), write, say).file(graph), feed, rewritten))
    costs = {gate: FoldCost.model_validate_json(kept.file(COST).read_bytes()) for gate, kept in folds.items()}
    return Made((*graphs, *adapter_parts(preset, out)), costs, eager)


def _key(preset: Preset, name: str) -> StageKey:
    code = code_hash("studies.folding.graphs", "compile.fold")
    return StageKey(stage=f"{preset}-{name}", inputs=(), settings={}, code=code, tools={})


def _recipes(preset: Preset) -> dict[str, tuple[Callable[[], MultiTaskModel], bool]]:
    """Return, by graph, what makes its model and whether the graph is folded and rewritten."""

    def unfolded(gate: Gate, form: Form) -> MultiTaskModel:
        return batch_tasks(random_model(config_of(preset, gate), SEED), form)

    return {
        "baseline": (lambda: random_model(config_of(preset, None), SEED), True),
        "unfolded_static": (lambda: unfolded("static", "hidden"), False),
        "unfolded_dynamic": (lambda: unfolded("dynamic", "hidden"), False),
        "unfolded_static_skills": (lambda: unfolded("static", "skills"), False),
    }


def plain_graph(preset: Preset, gate: Gate, images: ImageFiles, out: Path) -> Path:
    """Write a model's graph as exported and simplified, what is folded; return its folder."""
    config = config_of(preset, gate)
    return simplified_module(random_model(config, SEED), config, images, out, threads=0).folder


def _fold_once(preset: Preset, gate: Gate, images: ImageFiles, out: Path) -> Kept:
    """Fold in a process of its own, once; what it took is kept beside the artifact."""

    def write(folder: Path) -> None:
        say(f"  fold, {gate} gates")
        cost = fold_in_subprocess(plain_graph(preset, gate, images, folder), images, folder / "folded")
        write_text(folder / COST, cost.model_dump_json())

    return keep(out, _key(preset, f"fold-{gate}"), write, say)


def adapter_parts(preset: Preset, out: Path) -> list[Graph]:
    """Make the folded adapters alone, for some numbers of tasks and each kind of gate: ``adapter_<gate>_<tasks>``."""
    return [adapter_part(preset, gate, tasks, out) for gate in GATES for tasks in TASK_COUNTS[preset]]


def adapter_part(preset: Preset, gate: Gate, tasks: int, out: Path) -> Graph:
    """Make the folded adapters of so many tasks alone; its feed is random."""
    config, name = config_of(preset, gate, tasks=tasks), f"{PART}{gate}_{tasks}"
    taps = _random_taps(config)

    def write(folder: Path) -> None:
        say(f"  {name}")
        path = folder / GRAPH_FILE
        _export_part(random_model(config, SEED), list(taps.values()), list(taps), path)
        save_graph(fold_graph(read_graph(path), rates_of(RATES_OF)), path)

    feed = {name: tap.numpy() for name, tap in taps.items()}
    return Graph(name, keep(out, _key(preset, name), write, say).file(GRAPH_FILE), feed, rewritten=True)


def _export_part(model: MultiTaskModel, taps: list[Tensor], names: list[str], path: Path) -> None:
    """Export a model's adapters."""
    save_graph(to_onnx(AdapterPart(model).eval(), tuple(taps), names, None), path)


def _random_taps(config: ModelConfig) -> dict[str, Tensor]:
    """Make one MLP input per block and the output of each stage."""
    assert isinstance(config.backbone, SwinConfig)
    generator = torch.Generator().manual_seed(SEED)
    shapes = [
        (1, *size, config.backbone.width(stage))
        for stage, size in enumerate(stage_sizes(config.backbone, config.image))
        for _ in range(config.backbone.depths[stage] + 1)
    ]
    return {f"tap_{number}": torch.randn(shape, generator=generator) for number, shape in enumerate(shapes)}


def rewritten(graph: Graph, names: tuple[str, ...], folder: Path) -> Path:
    """Return the graph's file after the named passes, if it is one of those that get them; else the file itself."""
    if not graph.rewritten:
        return graph.path
    path = folder / f"{graph.name}.onnx"
    apply_passes(names, graph.path, path)
    return path


def write_checkpoint(folder: Path, config: ModelConfig) -> Path:
    """Write the seeded random model as a checkpoint."""
    card = Card(trained_on="nothing: seeded random weights", steps=0, hours=0.0, metrics={})
    with replacing(folder, anything) as temporary:
        write(temporary, config, random_model(config, SEED).state_dict(), card, storage="float32")
    return folder


def write_image(folder: Path, config: ModelConfig, count: int = 1) -> ImageFiles:
    """Write smooth random images of the model's size, seeded."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"image{number or ''}.png" for number in range(count)]
    for number, path in enumerate(paths):
        coarse = np.random.default_rng(SEED + number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        size = (config.image.width, config.image.height)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return ImageFiles(paths=tuple(paths))


def fold_in_subprocess(plain: Path, images: ImageFiles, out: Path) -> FoldCost:
    """Fold a simplified graph by the command line, in a process of its own.

    Raises:
        CheckpointError: the command failed.
    """
    command = [
        *module("compile.fold"),
        str(plain.resolve()),
        "--images",
        str(images.paths[0].resolve().parent),
        "--out",
        str(out.resolve()),
        "--count",
        "1",
    ]
    start = perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = process.stderr.read() if process.stderr is not None else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    if status:
        raise CheckpointError(
            "the fold command failed",
            expected="exit code 0",
            got=f"status {status}: {said.strip()[-400:]}",
            where=" ".join(command),
            fix="run it by hand",
        )
    proof = folding_of(load(Folded, out)).proof
    return FoldCost(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        float64=max(proof.float64.values()),
        float32=max(proof.float32.values()),
    )


def _read(images: ImageFiles) -> Array:
    [(_, image)] = images.read()
    return image


def _run(model: nn.Module, feed: Mapping[str, Array]) -> dict[str, Array]:
    with torch.no_grad():
        outputs: dict[str, Tensor] = model(torch.tensor(feed[INPUT]))
    return {task: output.numpy() for task, output in outputs.items()}
