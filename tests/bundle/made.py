"""A small bundle made from arithmetic: a "model" that mixes colours, labels near its answers, vectors, a manifest."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from bundle.formats.artifacts import hash_file
from bundle.formats.contents import DEVICE_FOLDERS, HASHED, MANIFEST
from bundle.formats.hash_files import with_hashes, write_hashed
from bundle.formats.io_forms import Io, interface
from bundle.formats.manifest import (
    Bundle,
    BundleVariant,
    Engine,
    Manifest,
    Reference,
    Seeds,
    default_budgets,
    load_bundle,
    write_manifest,
)
from bundle.formats.vectors import Evaluated, write_vectors
from bundle.judging.regression_report import Device, Execution
from bundle.tasks.kinds.probability import Probability
from bundle.tasks.postprocess import predict
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import task

HEIGHT, WIDTH = 24, 32
CLASSES = {"semseg": ("wall", "floor", "bed", "person"), "human_parts": ("none", "head", "torso")}
PALETTES = {name: tuple((20 * i, 30 * i, 40 * i) for i in range(len(row))) for name, row in CLASSES.items()}
SPEC = DatasetSpec(name="made", classes=CLASSES, palettes=PALETTES, attribution="made of arithmetic")
TASKS = {"semseg": 4, "human_parts": 3, "saliency": 1, "normals": 3, "depth": 1, "edge": 1}
PREPROCESS = Preprocess(height=HEIGHT, width=WIDTH)
HERE = Execution(device=Device(name="test", isa=("none",)), precision="f32", executed_on="emulation")

Change = Callable[[str, Array], Array]


def unchanged(name: str, raw: Array) -> Array:
    """The change that changes nothing."""
    return raw


def image(index: int) -> np.ndarray:
    """A smooth random image, uint8 ``[H, W, 3]``."""
    coarse = np.random.default_rng(index).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def model(pixels: Array) -> dict[str, Array]:
    """Raw outputs float32 ``[1, C, H, W]`` of a float32 ``[1, 3, H, W]`` input."""
    outputs: dict[str, Array] = {}
    for index, (name, channels) in enumerate(TASKS.items()):
        weights = np.random.default_rng(100 + index).normal(size=(channels, 3)).astype(np.float32)
        mixed = np.einsum("oc,bchw->bohw", weights, pixels)
        outputs[name] = (2.0 + mixed if name == "depth" else mixed).astype(np.float32)
    return outputs


def label(name: str, raw: Array, index: int) -> Array:
    """An encoded label close to what the model answers: its answer for a disturbed output."""
    noise = np.random.default_rng([7, index]).normal(scale=0.3, size=raw.shape).astype(np.float32)
    prediction = predict(task(name), raw + noise)
    kind = task(name).kind
    if kind.channels is None:
        prediction = prediction.astype(np.uint8)
        prediction[:2] = 255
        return prediction
    if isinstance(kind, Probability):
        return np.where(prediction > 0.5, 255, 0).astype(np.uint8)
    if kind.axes:
        return np.rint((prediction.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    return np.rint(prediction * 1000).astype(np.uint16)


def evaluated(count: int, tasks: Mapping[str, int] = TASKS) -> Iterator[Evaluated]:
    """The images of the bundle, with labels and the reference's outputs."""
    for index in range(count):
        outputs = {name: raw[0] for name, raw in model(PREPROCESS.apply(image(index))).items() if name in tasks}
        labels = {name: label(name, raw, index) for name, raw in outputs.items()}
        yield Evaluated(id=f"image-{index}", image=image(index), labels=labels, outputs=outputs)


def hash_bundle(folder: Path) -> dict[str, str]:
    """Hash every file that a manifest's ``files`` must list; keys are POSIX paths relative to ``folder``, sorted."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    later = with_hashes(MANIFEST, *HASHED)
    listed = (name for name in names if name not in later and name.split("/")[0] not in DEVICE_FOLDERS)
    return {name: hash_file(folder / name) for name in listed}


def manifest(folder: Path, io: Io = "raw", budget: float | None = None) -> Manifest:
    """A manifest of the files in ``folder``."""
    inputs, outputs = interface(io, PREPROCESS, TASKS)
    return Manifest(
        schema_version=4 if io in ("nchw", "nhwc") else 3,
        name="made",
        target="reference",
        io=io,
        tasks=TASKS,
        dataset=SPEC,
        preprocess=PREPROCESS,
        inputs=inputs,
        outputs=outputs,
        variants=(BundleVariant(name="f32", precision="f32", files=("f32.onnx",), recipe={"name": "f32"}),),
        shipped="f32",
        engine=Engine(status="built"),
        reference=Reference(checkpoint_sha256="0" * 64, framework="arithmetic"),
        budgets=default_budgets(TASKS, strict=False) if budget is None else dict.fromkeys(TASKS, budget),
        seeds=Seeds(sampling=1, bootstrap=2),
        tools={"numpy": np.__version__},
        settings={},
        parents={},
        files=hash_bundle(folder),
    )


def write_result(folder: Path, name: str, text: str) -> Path:
    """Write any text as a result of the bundle in ``folder``: with its hash, a JSON object or a page with the tie too."""
    digest = hash_file(folder / MANIFEST)
    if name.endswith(".html"):
        text += f'<meta name="bundle" content="{digest}">\n'
    else:
        text = json.dumps({**json.loads(text), "bundle": digest}, indent=2) + "\n"
    write_hashed(folder / name, text.encode())
    return folder / name


def make_bundle(folder: Path, *, io: Io = "raw", count: int = 12, budget: float | None = None) -> Bundle:
    """Write a whole bundle and open it."""
    folder.mkdir(parents=True)
    (folder / "f32.onnx").write_bytes(b"no graph, but bytes to protect")
    (folder / "fold.json").write_text("[]\n")
    write_vectors(folder / "vectors.npz", evaluated(count), tasks=TASKS, spec=SPEC)
    write_manifest(folder, manifest(folder, io, budget))
    return load_bundle(folder)


def session(io: Io, change: Change = unchanged) -> Callable[[dict[str, Array]], dict[str, Array]]:
    """A compiled model: the same arithmetic, with ``change(task, raw [1, C, H, W])`` applied to its raw outputs."""

    def infer(feed: dict[str, Array]) -> dict[str, Array]:
        given = feed["image"]
        frame = given[0].transpose(1, 2, 0) if io == "nchw" else given[0]
        pixels = given if io == "raw" else PREPROCESS.apply(frame.astype(np.uint8))
        raw = {name: change(name, output) for name, output in model(pixels).items()}
        if io == "raw":
            return raw
        maps = {name: predict(task(name), output[0])[None] for name, output in raw.items()}
        if io == "edge":
            return maps
        for name in CLASSES:
            maps[name] = maps[name].astype(np.int32)[..., None] if io == "nhwc" else maps[name].astype(np.int32)
        return maps

    return infer
