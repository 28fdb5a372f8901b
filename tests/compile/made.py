"""A tiny checkpoint and a tiny labelled folder, small enough for every stage to run in seconds."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from bundle.formats.io_forms import FORMS, Io
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import Array
from compile.stage.graph_info import GraphInfo
from tdss.adapters.config import TdssConfig
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.card import Card
from tdss.checkpoint import save
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel
from tests.bundle.made_scenes import SPEC, write_folder

SIDE = 32
TASKS = {"semseg": 3, "human_parts": 2, "saliency": 1, "normals": 3, "depth": 1, "edge": 1}
CONFIG = ModelConfig(
    name="tiny",
    image=ImageConfig(height=SIDE, width=SIDE),
    backbone=SwinConfig(embed_dim=16, depths=(1, 2), heads=(1, 2), window=4),
    adapter=TdssConfig(experts=2, rank=2, gates=(("static",), ("dynamic", "static"))),
    decoder=HrnetConfig(widths=(8, 8), hidden=16),
    tasks=TASKS,
)
INFO = {io: GraphInfo(io=io, preprocess=Preprocess(height=SIDE, width=SIDE), tasks=TASKS) for io in FORMS}
CALIBRATION = tuple(f"c{number}" for number in range(6))
EVALUATION = tuple(f"v{number}" for number in range(22))  # every other one shows people
ROOT = Path(__file__).resolve().parents[2]
# A search runs only where INT8 needs repair.
STAGES = ("export", "simplify", "fold", "rewrite", "quantize", "vectors", "build", "judge")


def info(io: Io) -> GraphInfo:
    """The tiny model's contract."""
    return INFO[io]


def model() -> MultiTaskModel:
    """The tiny model with fixed weights, none of them zero."""
    torch.manual_seed(0)
    made = MultiTaskModel(CONFIG).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def checkpoint(folder: Path) -> Path:
    """Write the tiny model as a checkpoint folder."""
    save(folder, CONFIG, model(), Card(trained_on="nothing", steps=0, hours=0.0, metrics={}), storage="float16")
    return folder


def image(seed: int) -> np.ndarray:
    """One smooth RGB image with a little noise, uint8 ``[32, 32, 3]``."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, SIDE)
    base = np.stack([np.outer(ramp, ramp[::-1]), np.outer(ramp**2, np.ones(SIDE)), np.outer(np.ones(SIDE), ramp)], -1)
    noisy = 200 * base * generator.uniform(0.3, 1, 3) + generator.normal(0, 12, base.shape) + 20
    return noisy.clip(0, 255).astype(np.uint8)


def labels(seed: int) -> dict[str, np.ndarray]:
    """Encoded labels of one image: blocks, so that edges are few."""
    generator = np.random.default_rng(seed + 1000)
    blocks = generator.integers(0, 3, (4, 4)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    normals = np.zeros((SIDE, SIDE, 3), np.uint8)
    normals[...] = (128, 128, 255)
    edge = np.zeros((SIDE, SIDE), np.uint8)
    edge[1:][blocks[1:] != blocks[:-1]] = 255
    return {
        "semseg": blocks,
        "human_parts": (blocks == 2).astype(np.uint8) * (seed % 2),
        "saliency": (blocks == 2).astype(np.uint8) * 255,
        "normals": normals,
        "depth": (1000 + 500 * blocks.astype(np.uint16)).astype(np.uint16),
        "edge": edge,
    }


def scenes(root: Path) -> Path:
    """Write the labelled folder: splits ``calibration`` (images only) and ``val``, and the spec."""
    examples = {name: (image(seed), dict[str, np.ndarray]()) for seed, name in enumerate((*CALIBRATION, *EVALUATION))}
    examples |= {name: (image(seed + len(CALIBRATION)), labels(seed)) for seed, name in enumerate(EVALUATION)}
    return write_folder(root, {"calibration": CALIBRATION, "val": EVALUATION}, examples, SPEC).root


def answer(feed: Mapping[str, Array]) -> dict[str, Array]:
    """Something that depends on the image, in the shape of a model's answer."""
    pixels = np.asarray(feed["image"], np.float32)
    return {name: np.resize(pixels[0] + 3, (1, channels, SIDE, SIDE)) for name, channels in TASKS.items()}


def quiet(line: str) -> None:
    """Say nothing of a stage's progress."""


def command(checkpoint: Path, scenes: Path, out: Path) -> list[str]:
    """The command line of a build whose every byte is decided by its inputs (an emulation has no timings)."""
    path = out.with_suffix(".toml")
    budgets = "".join(f"{name} = 10.0\n" for name in TASKS)
    path.write_text(
        f'target = "jetson"\ncheckpoint = "{checkpoint}"\ndata = "{scenes}"\nout = "{out}"\nthreads = 1\n[budgets]\n{budgets}'
    )
    return [sys.executable, str(ROOT / "compile" / "pipeline.py"), "--config", str(path)]
