"""A bundle of six tasks on made-up scenes, without a model: what the page is tested on."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.formats.io_forms import interface
from bundle.formats.manifest import BundleVariant, Engine, Manifest, Reference, Seeds, default_budgets, write_manifest
from bundle.formats.vectors import Evaluated, write_vectors
from bundle.tasks.dataset import output_channels
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import TASKS
from tests.bundle.made import hash_bundle, write_result

HEIGHT, WIDTH, IMAGES = 40, 56, 5
CLASSES = ("wall", "floor", "box")
PARTS = ("background", "head")
COLOURS = ((200, 80, 80), (80, 160, 80), (90, 90, 210))
SPEC = DatasetSpec(
    name="made-up",
    classes={"semseg": CLASSES, "human_parts": PARTS},
    palettes={"semseg": COLOURS, "human_parts": ((0, 0, 0), (250, 200, 60))},
    attribution="Made for a test.",
)
CHANNELS = {row.name: output_channels(row, SPEC) for row in TASKS}
PREPROCESS = Preprocess(height=HEIGHT, width=WIDTH)


def scene(seed: int, noise: float) -> Evaluated:
    """One image: a box before a wall on a floor, and outputs that are right but for ``noise``."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    box = (abs(rows - 22) < 9) & (abs(columns - 10 - 6 * (seed % 5)) < 8)
    classes = np.where(box, 2, (rows > 25).astype(int)).astype(np.uint8)
    normals = np.where((classes == 1)[..., None], (128, 255, 128), (128, 128, 255)).astype(np.uint8)
    labels: dict[str, Array] = {
        "semseg": classes,
        "human_parts": (box & (rows < 18)).astype(np.uint8),
        "saliency": np.where(box, 255, 0).astype(np.uint8),
        "normals": normals,
        "depth": np.where(box, 1500, 4000 - 60 * rows).astype(np.uint16),
        "edge": np.where(np.abs(np.gradient(classes.astype(float))[1]) > 0.4, 255, 0).astype(np.uint8),
    }
    image = np.asarray(COLOURS, np.uint8)[classes] // 2 + generator.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
    outputs = {name: _output(name, label, noise, generator) for name, label in labels.items()}
    return Evaluated(id=f"{seed:05d}", image=image, labels=labels, outputs=outputs)


def _output(name: str, label: Array, noise: float, generator: np.random.Generator) -> NDArray[np.float32]:
    if name in SPEC.classes:
        raw = 4.0 * (label[None] == np.arange(CHANNELS[name])[:, None, None])
    elif name == "normals":
        raw = label.transpose(2, 0, 1) / 127.5 - 1
    elif name == "depth":
        raw = label[None] * 0.001
    else:
        raw = 6.0 * (label[None] > 0) - 3
    return (raw + noise * generator.normal(size=raw.shape)).astype(np.float32)


def regression(**changes: object) -> dict[str, object]:
    """The contract's regression.json: one task passes, one fails, one is undecided, the rest pass."""
    worse = {"higher": 0.499, "lower": 0.501}
    tasks = {
        row.name: task(row.metric, row.direction, 0.5, worse[row.direction], (0.001, 0.004), "pass", 31.5)
        for row in TASKS
    }
    values: dict[str, object] = {
        "schema": 3,
        "model": "made",
        "target": "intel",
        "device": {"name": "Test CPU", "isa": ["avx2"]},
        "precision": "int8",
        "executed_on": "device",
        "images": IMAGES,
        "tasks": tasks,
        "delta_m": -0.2,
        "passed": True,
    }
    return {**values, **changes}


def task(
    metric: str,
    direction: str,
    reference: float | None,
    compiled: float | None,
    interval: tuple[float | None, float | None],
    verdict: str,
    sqnr: float | None,
) -> dict[str, object]:
    """One task of regression.json, with a budget of 1 %."""
    known = reference is not None and compiled is not None
    sign = 1 if direction == "higher" else -1
    return {
        "metric": metric,
        "direction": direction,
        "reference": reference,
        "compiled": compiled,
        "drop_relative": sign * (reference - compiled) / reference if known else None,
        "interval": list(interval),
        "budget": 0.01,
        "verdict": verdict,
        "labelled_images": IMAGES,
        "sqnr_db": sqnr,
    }


def failing() -> dict[str, object]:
    """A regression.json with every verdict, an undefined drop and one far off the chart."""
    report = regression(executed_on="emulation", passed=False)
    tasks = dict(report["tasks"])  # type: ignore[call-overload]
    tasks["normals"] = task("mean_angular_error_deg", "lower", 18.2, 20.0, (0.08, 0.12), "regression", 12.0)
    tasks["depth"] = task("rmse_m", "lower", 0.4, 0.401, (-0.004, 0.013), "inconclusive", 24.0)
    tasks["edge"] = task("ods_f", "higher", 0.6, None, (None, None), "regression", None)
    return {**report, "tasks": tasks}


def _variants(standing: object) -> list[dict[str, object]]:
    return [
        {
            "name": "f32",
            "precision": "f32",
            "tasks": standing,
            "passed": True,
            "median_ms": 100.0,
            "bytes": 37_000_000,
            "isa": ["avx2"],
            "reason": "the plain graph",
        },
        {
            "name": "int8",
            "precision": "int8",
            "tasks": standing,
            "passed": False,
            "median_ms": 80.0,
            "bytes": 10_000_000,
        },
        {"name": "f16", "precision": "f16", "passed": False, "bytes": 18_000_000, "reason": "no FP16 here"},
    ]


def rich(**changes: object) -> dict[str, object]:
    """``failing`` with all that is optional: figures, agreement, every variant, an earlier run, the session's facts."""
    report = failing()
    tasks = {name: {**row} for name, row in report["tasks"].items()}  # type: ignore[attr-defined]
    share = {
        "direction": "higher",
        "reference": 0.41,
        "compiled": 0.4,
        "drop_relative": 0.0244,
        "interval": [0.02, 0.03],
    }
    tasks["normals"]["figures"] = {"share_under_11.25_deg": share}
    tasks["depth"]["images_needed"], tasks["depth"]["cause"] = 431, "more_images"
    checks = {
        name: {
            "nonfinite_images": 0,
            "agreement": 0.97,
            "cosine": 0.9991,
            "change": 0.0123,
            "change_unit": row.kind.change_unit,
            "worst": [{"id": CHANGED_MOST, "change": 0.2}, {"id": "00001", "change": 0.1}],
        }
        for name, row in ((row.name, row) for row in TASKS)
    }
    kept = ("reference", "compiled", "drop_relative", "interval", "budget", "verdict", "sqnr_db", "labelled_images")
    standing = {name: {key: row[key] for key in kept} for name, row in tasks.items()}
    earlier = {
        "model": "older",
        "target": "intel",
        "device": {"name": "Test CPU", "isa": []},
        "precision": "f32",
        "executed_on": "device",
        "tasks": standing,
        "delta_m": -3.2,
        "passed": False,
    }
    more = {
        "tasks": tasks,
        "checks": checks,
        "variants": _variants(standing),
        "baseline": earlier,
        "delta_m_interval": [-0.4, 0.1],
        "session": {"runtime": "test 1.0", "threads": "2"},
        "source": "rooms/val",
    }
    return {**report, **more, **changes}


def search_step(**changes: object) -> dict[str, object]:
    """Return a graph that a search tried: every task holds."""
    plain = {"layers_in_float": 0, "macs_share": 0.031, "broken": [], "passed": False, "near": False}
    return {**plain, "tasks": {}, "smooth": False, "noise": {}, **changes}


CHANGED_MOST = "00003"
SENSITIVITY = {
    "schema_version": 2,
    "result": "mixed",
    "images": 24,
    "trial_images": 24,
    "layers_in_float": ["stem/conv"],
    "config": {},
    "budgets": {},
    "never_quantized_share": 0.1,
    "steps": [search_step()],
    "layers": [
        {
            "name": "stem/conv",
            "macs_share": 0.02,
            "sqnr_db": {"depth": 12.0, "edge": 30.0},
            "drop": {"depth": 0.02, "edge": 0.0},
        },
        {
            "name": "head/fc",
            "macs_share": 0.4,
            "sqnr_db": {"depth": 32.0, "edge": 60.0},
            "drop": {"depth": 0.001, "edge": 0.0},
        },
    ],
}
BENCH = {
    "eager_ms": 128.0,
    "f32_compiled_ms": 100.0,
    "shipped_ms": 80.0,
    "shipped_precision": "int8",
    "runs": 15,
    "warmup": 3,
}
FOLD = [
    {
        "module": "backbone.stages.0.blocks.0.mlp.fc1",
        "rule": "static gates",
        "decision": "folded",
        "reason": "the gate does not depend on the image",
        "exact": True,
        "max_abs_error": 1.4e-12,
        "params_before": 12_000,
        "params_after": 10_000,
        "macs_before": 9_000_000,
        "macs_after": 7_000_000,
    },
    {
        "module": "backbone.stages.0.blocks.1.mlp.fc1",
        "rule": "static gates",
        "decision": "kept",
        "reason": "the gate is dynamic",
        "exact": True,
        "max_abs_error": None,
        "params_before": 12_000,
        "params_after": 12_000,
        "macs_before": 9_000_000,
        "macs_after": 9_000_000,
    },
]


def manifest(files: Mapping[str, str], **changes: object) -> Manifest:
    """The bundle's manifest, with ``changes`` to its fields."""
    inputs, outputs = interface("raw", PREPROCESS, CHANNELS)
    graph = BundleVariant(name="f32", precision="f32", files=("f32.onnx",), recipe={"reason": "the plain one"})
    values: dict[str, object] = {
        "name": "made",
        "target": "intel",
        "io": "raw",
        "tasks": CHANNELS,
        "dataset": SPEC,
        "preprocess": PREPROCESS,
        "inputs": inputs,
        "outputs": outputs,
        "variants": (graph,),
        "shipped": "f32",
        "engine": Engine(status="built"),
        "reference": Reference(checkpoint_sha256="ab" * 32, framework="torch 2.13.0, eager, float32, unfolded"),
        "budgets": default_budgets(CHANNELS, strict=False),
        "seeds": Seeds(sampling=0, bootstrap=1),
        "tools": {"numpy": np.__version__},
        "settings": {"threads": 2},
        "parents": {"quantized": "cd" * 32},
        "files": dict(files),
    }
    return Manifest.model_validate({**values, **changes})


def make(
    folder: Path,
    report: Mapping[str, object] | None,
    *,
    bench: bool = True,
    fold: bool = True,
    images: int = IMAGES,
    sensitivity: bool = False,
    **changes: object,
) -> Path:
    """Write the bundle and its results; ``changes`` go to the manifest."""
    folder.mkdir(parents=True)
    (folder / "f32.onnx").write_bytes(b"graph" * 1000)
    scenes = (scene(seed, 0.3 + 0.5 * seed) for seed in range(images))
    write_vectors(folder / "vectors.npz", scenes, tasks=CHANNELS, spec=SPEC)
    if fold:
        (folder / "fold.json").write_text(json.dumps(FOLD))
    if sensitivity:
        (folder / "sensitivity.json").write_text(json.dumps(SENSITIVITY))
    write_manifest(folder, manifest(hash_bundle(folder), **changes))
    if report is not None:
        write_result(folder, "regression.json", json.dumps(report))
    if bench:
        write_result(folder, "bench.json", json.dumps(BENCH))
    return folder


class Compiled:
    """A compiled model of the made-up scenes: it knows an image by its bytes and answers with ``noise``."""

    def __init__(self, noise: float, *, broken: tuple[str, ...] = ()) -> None:
        self.noise = noise
        self.broken = broken
        self.calls = 0
        self.seeds = {PREPROCESS.apply(scene(seed, 0.0).image, name="").tobytes(): seed for seed in range(IMAGES)}

    def __call__(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Answer one feed of ``bundle.judging.run.feed``; the outputs of ``broken`` tasks hold a NaN."""
        self.calls += 1
        outputs = scene(self.seeds[feed["image"].tobytes()], self.noise).outputs
        batch: dict[str, Array] = {name: output[None].copy() for name, output in outputs.items()}
        for name in self.broken:
            batch[name] = np.full_like(batch[name], np.nan)
        return batch
