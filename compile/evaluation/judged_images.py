"""What each evaluation image shows of one variant, a few images a part: of all judging, what takes long and is independent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bundle.formats.artifacts import Engine
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import Manifest
from bundle.formats.vectors import Vectors
from bundle.judging.evaluate_image import ImageResult, evaluate_image
from bundle.judging.resume import Journal
from bundle.judging.session_timeout import guarded
from compile.stage.artifacts import ReferenceVectors
from compile.stage.parts import Measure, Spread, Work, of_part, span, spans
from compile.stage.store import StageKey, stage_key
from targets.base import Capabilities, RunConfig, Session, Target, Variant
from targets.table import target as find_target

IMAGES = 8  # of a part
SEEN = "images"
JUDGED_BY = {"io", "tasks", "dataset", "preprocess", "inputs", "outputs", "agreement"}
"""What of a manifest decides what an image shows."""


class JudgedImages(Work):
    """One variant of an engine on the images of vectors.npz."""

    engine: Path
    variant: Variant
    target: str
    run: RunConfig
    able: Capabilities
    vectors: Path
    manifest: Manifest

    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        """Return the keys of some images each."""
        settings = self.model_dump(mode="json", include={"variant", "target", "run", "able"})
        settings |= {"manifest": self.manifest.model_dump(mode="json", include=JUDGED_BY)}
        whole = stage_key("images", inputs=tuple(self.files.values()), settings=settings)
        return {part: of_part(whole, part) for part in parts}

    @contextmanager
    def open(self) -> Iterator[Measure]:
        """Load the variant."""
        with (
            find_target(self.target).open(self.engine, self.variant, self.run, "auto", keep=self.engine) as session,
            self.with_session(session) as measure,
        ):
            yield measure

    @contextmanager
    def with_session(self, session: Session) -> Iterator[Measure]:
        """Open the images for a session that is open."""
        with Vectors(self.vectors) as opened:
            images = enumerate(opened.images())

            def measure(part: str, out: Path) -> None:
                wanted, journal = span(part), Journal(out, SEEN)
                for index, stored in images:
                    if index in wanted:
                        infer = guarded(session.infer, stored.id, 0.0)
                        journal.add(stored.id, evaluate_image(stored, infer, self.manifest))
                    if index + 1 == wanted.stop:
                        return

            yield measure


def work_of(
    engine: Engine, variant: Variant, vectors: ReferenceVectors, target: Target, run: RunConfig, manifest: Manifest
) -> JudgedImages:
    """Return the work of judging one variant; ``manifest`` is the draft of the bundle's."""
    graphs = {str(engine.file(name)): engine.record.files[name] for name in variant.files}
    return JudgedImages(
        files=graphs | {str(vectors.file(VECTORS)): vectors.record.files[VECTORS]},
        engine=engine.folder,
        variant=variant,
        target=target.name,
        run=run,
        able=target.capabilities(run),
        vectors=vectors.file(VECTORS),
        manifest=manifest,
    )


def judged_images(work: JudgedImages, session: Session, spread: Spread) -> dict[str, dict[str, ImageResult]]:
    """Return what every image shows of every task, in the order of the images; in this process ``session`` runs them.

    Raises:
        ArtifactError: an output has another name, dtype, shape or range than the manifest says.
        SessionFailed: the session raised an error of its own, or a worker was killed again and again.
    """
    with Vectors(work.vectors) as opened:
        parts = spans(len(opened.ids), IMAGES)
    made = spread.run(work, parts, opened=lambda: work.with_session(session))
    return {name: seen for part in made for name, seen in Journal(part.folder, SEEN).seen.items()}
