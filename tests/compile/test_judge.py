"""Which variant is shipped, and why."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bundle.artifacts import load, replacing
from bundle.dataset import FolderDataset
from bundle.manifest import VECTORS, BundleVariant, Manifest, Reference, Seeds, default_budgets
from bundle.manifest import Engine as EngineEntry
from bundle.vectors import Evaluated, write_vectors
from compile import judge
from compile.config import TimingConfig
from compile.eager import EagerModel
from compile.judge import Terms, order
from compile.store import seal
from compile.stored import ReferenceVectors
from targets.base import Array, Capabilities, Precision, Session, SessionInfo
from tests.compile import made

ABLE = Capabilities(device="CPU", device_name="a processor", isa=(), precisions=("f32", "int8"), runtime="made")
NAMES: tuple[Precision, ...] = ("f32", "f16", "int8")


class Made(Session):
    """The eager model with noise of a chosen size."""

    def __init__(self, model: EagerModel, precision: Precision, noise: float) -> None:
        info = SessionInfo(target="made", capabilities=ABLE, precision=precision, executed_on="device", settings={})
        super().__init__(info, *made.INFO["raw"].interface)
        self.model, self.noise = model, noise

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        with torch.no_grad():
            outputs = self.model._model(torch.tensor(feed["image"]))
        generator = np.random.default_rng(0)
        return {
            name: output.numpy() + np.float32(self.noise) * generator.normal(size=output.shape).astype(np.float32)
            for name, output in outputs.items()
        }

    def _close(self) -> None:
        self.noise = 0.0


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> EagerModel:
    """The tiny model, unfolded."""
    return EagerModel(checkpoint)


@pytest.fixture(scope="module")
def vectors(model: EagerModel, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> ReferenceVectors:
    """What the tiny model says about the tiny evaluation images."""
    dataset = FolderDataset(root=scenes, spec=made.SPEC)
    out = tmp_path_factory.mktemp("vectors") / "v"
    with replacing(out) as folder:
        images = (
            Evaluated(
                id=name, image=dataset.image(name), outputs=model.run(dataset.image(name), name=name),
                labels={task: dataset.encoded_label(task, name) for task in made.TASKS},
            )
            for name in made.EVALUATION
        )  # fmt: skip
        write_vectors(folder / VECTORS, images, tasks=made.TASKS, spec=made.SPEC)
        seal(ReferenceVectors, folder, parent=None, inputs=(), outputs=(), settings={}, tools={})
    return load(ReferenceVectors, out)


@pytest.fixture(scope="module")
def terms() -> Terms:
    """Default budgets on the tiny data."""
    info = made.INFO["raw"]
    inputs, outputs = info.interface
    draft = Manifest(
        name="tiny", target="intel", io="raw", tasks=made.TASKS, dataset=made.SPEC, preprocess=info.preprocess,
        inputs=inputs, outputs=outputs, shipped="f32", engine=EngineEntry(status="built"),
        variants=(BundleVariant(name="f32", precision="f32", files=("float.xml",), recipe={}),),
        reference=Reference(checkpoint_sha256="", framework=""), budgets=default_budgets(made.TASKS, strict=False),
        seeds=Seeds(sampling=0, bootstrap=0), tools={}, settings={}, parents={}, files={},
    )  # fmt: skip
    return Terms(draft, TimingConfig(runs=1, warmup=0), allow_inconclusive=False)


def choose(
    model: EagerModel, noise: dict[Precision, float], latency: dict[str, float], vectors: ReferenceVectors, terms: Terms
) -> tuple[str, str, dict[str, str]]:
    """Judge sessions of these noises; return what is shipped, why, and each variant's reason."""
    sessions: dict[Precision, Session] = {name: Made(model, name, size) for name, size in noise.items()}
    choice, report = judge._choose(sessions, latency, 1.0 if latency else None, vectors, terms)
    assert report.precision == choice.shipped
    return choice.shipped, choice.reason, {one.name: one.reason for one in choice.candidates}


def test_with_latencies_the_fastest_comes_first_and_a_tie_goes_to_the_wider() -> None:
    names = list(NAMES)
    assert order(names, {"f32": 10.0, "f16": 8.0, "int8": 5.0}, 0.95) == ["int8", "f16", "f32"]
    assert order(names, {"f32": 10.0, "f16": 9.9, "int8": 9.7}, 0.95) == ["f32", "f16", "int8"]
    assert order(names, {"f32": 10.0, "f16": 9.9, "int8": 9.7}, 1.0) == ["int8", "f16", "f32"]


def test_without_latencies_the_narrowest_comes_first() -> None:
    assert order(list(NAMES), {}, 0.95) == ["int8", "f16", "f32"]


def test_the_fastest_within_its_budgets_is_shipped(model: EagerModel, vectors: ReferenceVectors, terms: Terms) -> None:
    fast = {"f32": 10.0, "int8": 5.0}
    shipped, reason, reasons = choose(model, {"f32": 0.0, "int8": 0.0}, fast, vectors, terms)
    assert (shipped, reasons["int8"]) == ("int8", "shipped")
    assert "fastest" in reason and "not judged" in reasons["f32"]


def test_a_faster_one_beyond_its_budgets_is_not(model: EagerModel, vectors: ReferenceVectors, terms: Terms) -> None:
    fast = {"f32": 10.0, "int8": 5.0}
    shipped, _, reasons = choose(model, {"f32": 0.0, "int8": 3.0}, fast, vectors, terms)
    assert shipped == "f32"
    assert "not shown to be within its budgets" in reasons["int8"] and "depth regression" in reasons["int8"]


def test_where_none_is_the_most_precise_is_shipped_and_the_reason_says_so(
    model: EagerModel, vectors: ReferenceVectors, terms: Terms
) -> None:
    shipped, reason, _ = choose(model, {"f32": 3.0, "int8": 4.0}, {"f32": 10.0, "int8": 5.0}, vectors, terms)
    assert shipped == "f32" and "the build fails" in reason


def test_an_emulation_leaves_the_last_word_to_the_device(
    model: EagerModel, vectors: ReferenceVectors, terms: Terms
) -> None:
    shipped, reason, _ = choose(model, {"f32": 0.0, "f16": 0.0, "int8": 3.0}, {}, vectors, terms)
    assert shipped == "f16" and "the device decides" in reason
