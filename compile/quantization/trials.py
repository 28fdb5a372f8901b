"""Trials: what a graph answers on the labelled calibration images, a few images a part.

The float graph is measured first. Each of its parts keeps what the same part of another graph is compared with.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bundle.formats.artifacts import hash_file, load
from bundle.tasks.spec import Array
from compile.quantization.accuracy import METRIC, AccuracyEvaluator, LabelledImages, Seen
from compile.quantization.variants import QuantizationJob
from compile.stage.compare import open_graph
from compile.stage.config import SearchSettings
from compile.stage.parts import Measure, Spread, Work, of_part, span, spans
from compile.stage.store import Kept, StageKey, stage_key
from targets.base import Capabilities, RunConfig, Variant
from targets.table import target as find_target

IMAGES = 8  # of a part
ARRAYS = "arrays.npz"
ENERGY = "energy_"


class FloatGraph(Work):
    """The float graph on the images."""

    images: LabelledImages
    source: Path
    threads: int

    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        """Return the keys of some images each."""
        whole = stage_key("trial", inputs=tuple(self.files.values()), settings={"threads": self.threads})
        return {part: of_part(whole, part, self.images.only(span(part)).sha256) for part in parts}

    @contextmanager
    def open(self) -> Iterator[Measure]:
        """Load the graph."""
        with open_graph(self.source, exact=False, threads=self.threads) as session:

            def measure(part: str, out: Path) -> None:
                evaluator = self.images.only(span(part)).read({}, 0)
                evaluator.set_reference(session.infer)
                _write(out, evaluator.kept_reference())

            yield measure


class Trial(Work):
    """A target's graph on the images; ``reference`` has the folder and the hash of each part of the float graph."""

    images: LabelledImages
    reference: dict[str, tuple[Path, str]]
    graph: Path
    variant: Variant
    target: str
    run: RunConfig
    able: Capabilities

    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        """Return the keys of some images each."""
        settings = self.model_dump(mode="json", include={"variant", "target", "run", "able"})
        whole = stage_key("trial", inputs=tuple(self.files.values()), settings=settings)
        images = {part: self.images.only(span(part)).sha256 for part in parts}
        return {part: of_part(whole, part, images[part], self.reference[part][1]) for part in parts}

    @contextmanager
    def open(self) -> Iterator[Measure]:
        """Load the graph."""
        target = find_target(self.target)
        with target.open(self.graph, self.variant, self.run, "auto", keep=self.graph) as session:

            def measure(part: str, out: Path) -> None:
                evaluator = self.images.only(span(part)).read({}, 0)
                evaluator.restore_reference(_read(load(Kept, self.reference[part][0])))
                metrics, energies = evaluator.see(session.infer)
                _write(out, _named(METRIC, metrics) | _named(ENERGY, energies))

            yield measure


class Trials:
    """All calibration images of one search, and what the float graph makes of them."""

    def __init__(self, job: QuantizationJob, settings: SearchSettings, spread: Spread) -> None:
        self._images = LabelledImages(
            info=job.info, dataset=settings.dataset, ids=job.calibration.ids, agreement=settings.agreement
        )
        self._spread = spread
        self._parts = spans(len(self._images.ids), IMAGES)
        work = FloatGraph(
            files={str(job.source): hash_file(job.source)},
            images=self._images,
            source=job.source,
            threads=job.run.threads,
        )
        self._reference = dict(zip(self._parts, spread.run(work, self._parts), strict=True))
        self.evaluator = AccuracyEvaluator((), job.info, settings.budgets, settings.seed, settings.agreement)
        self.evaluator.restore_reference(_joined(list(self._reference.values())))

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self._images.ids)

    def first(self, count: int) -> LabelledImages:
        """Return the first images."""
        return self._images.only(range(min(count, self.count)))

    def see(self, job: QuantizationJob, variant: Variant, count: int) -> Seen:
        """Measure a graph on the first ``count`` images or a few more, where a part has more."""
        work = Trial(
            files={str(job.folder / name): hash_file(job.folder / name) for name in variant.files},
            images=self._images,
            reference={part: (one.folder, one.sha256) for part, one in self._reference.items()},
            graph=job.folder,
            variant=variant,
            target=job.target.name,
            run=job.run,
            able=job.target.capabilities(job.run),
        )
        parts = [part for part in self._parts if span(part).start < count]
        arrays = _joined(self._spread.run(work, parts))
        metrics, energies = (
            {name: arrays[key + name].astype(np.float64, copy=False) for name in self._images.info.tasks}
            for key in (METRIC, ENERGY)
        )
        return Seen(metrics, energies)


def _named(key: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {key + name: array for name, array in arrays.items()}


def _write(folder: Path, arrays: Mapping[str, Array]) -> None:
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]  # its stub takes one bool keyword


def _read(part: Kept) -> dict[str, Array]:
    with np.load(part.file(ARRAYS), allow_pickle=False) as arrays:
        return dict(arrays)


def _joined(parts: Sequence[Kept]) -> dict[str, Array]:
    """Return the arrays of several parts, one image behind the other."""
    each = [_read(part) for part in parts]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}
