"""Images of a labelled folder and the reference's arrays for them: exact, in the split's order, refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, DatasetError, InputError
from bundle.formats.manifest import Manifest, load_bundle, write_manifest
from bundle.formats.vectors import write_vectors
from bundle.judging.image_sources import bundled, labelled, read_arrays, write_arrays
from bundle.judging.run import run
from bundle.tasks.table import task
from tests.bundle.made import HERE, SPEC, TASKS, evaluated, make_bundle, manifest, session
from tests.bundle.made_scenes import write_folder

IDS = ("image-2", "image-0")


@pytest.fixture
def terms(tmp_path: Path) -> Manifest:
    (tmp_path / "empty").mkdir()
    return manifest(tmp_path / "empty")


def folder(root: Path, *, side: int | None = None) -> Path:
    examples = {
        one.id: (one.image[:side, :side], {name: label[:side, :side] for name, label in one.labels.items()})
        for one in evaluated(3)
    }
    return write_folder(root, {"val": IDS}, examples, SPEC).root


def arrays(seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return {
        name: {one.name: random.random((3, *one.shape)) for one in task(name).figures(channels)}
        for name, channels in TASKS.items()
    }


def test_a_folder_gives_its_images_and_labels_in_the_splits_order(tmp_path: Path, terms: Manifest) -> None:
    source = labelled(terms, folder(tmp_path / "rooms"), "val", None)
    assert (source.name, source.ids, source.references) == ("rooms/val", IDS, {})
    given = {one.id: one for one in evaluated(3)}
    for stored in source.images():
        np.testing.assert_array_equal(stored.image, given[stored.id].image)
        for name in TASKS:
            np.testing.assert_array_equal(stored.labels[name], given[stored.id].labels[name])
        assert stored.predictions == stored.outputs == {}


def test_an_image_of_another_size_is_named(tmp_path: Path, terms: Manifest) -> None:
    source = labelled(terms, folder(tmp_path / "rooms", side=16), "val", None)
    with pytest.raises(DatasetError, match="image 'image-2' has another size") as caught:
        next(source.images())
    assert "[24, 32]" in str(caught.value) and "[16, 16]" in str(caught.value)


def test_the_bundles_policy_gives_images_and_labels_the_models_size(tmp_path: Path, terms: Manifest) -> None:
    spec = terms.dataset.model_copy(update={"schema_version": 2, "size_policy": "stretch"})
    fitting = terms.model_copy(update={"dataset": spec})
    for stored in labelled(fitting, folder(tmp_path / "rooms", side=16), "val", None).images():
        assert stored.image.shape == (24, 32, 3)
        assert {label.shape[:2] for label in stored.labels.values()} == {(24, 32)}


def test_a_missing_split_is_named(tmp_path: Path, terms: Manifest) -> None:
    with pytest.raises(DatasetError, match="no split 'test'"):
        labelled(terms, folder(tmp_path / "rooms"), "test", None)


def test_the_references_arrays_come_back_in_the_splits_order(tmp_path: Path, terms: Manifest) -> None:
    given = arrays()
    write_arrays(tmp_path / "a.npz", ("image-0", "image-1", "image-2"), given, "0" * 64)
    source = labelled(terms, folder(tmp_path / "rooms"), "val", tmp_path / "a.npz")
    for name, rows in given.items():
        assert list(source.references[name]) == list(rows)
        for figure, array in rows.items():
            np.testing.assert_array_equal(source.references[name][figure], array[[2, 0]])


@pytest.mark.parametrize(
    ("ids", "checkpoint", "got"),
    [(("image-0", "x", "y"), "0" * 64, "no image 'image-2'"), (("image-0", "image-1", "image-2"), "f" * 64, "ffff")],
)
def test_arrays_of_other_images_or_another_checkpoint_are_refused(
    tmp_path: Path, terms: Manifest, ids: tuple[str, ...], checkpoint: str, got: str
) -> None:
    write_arrays(tmp_path / "a.npz", ids, arrays(), checkpoint)
    with pytest.raises(InputError, match="another checkpoint or other images") as caught:
        read_arrays(tmp_path / "a.npz", terms, IDS)
    assert got in str(caught.value) and "tdss evaluate" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no archive"])
def test_a_file_that_holds_no_arrays_is_refused(tmp_path: Path, terms: Manifest, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.npz cannot be read"):
        read_arrays(tmp_path / "a.npz", terms, IDS)


@pytest.mark.parametrize("changes", [{"ids": np.array("one")}, {"tasks": np.array(3)}])
def test_damaged_names_are_refused(tmp_path: Path, terms: Manifest, changes: dict[str, np.ndarray]) -> None:
    write_arrays(tmp_path / "a.npz", IDS, arrays(), "0" * 64)
    with np.load(tmp_path / "a.npz") as kept:
        np.savez(tmp_path / "b.npz", **{**kept, **changes})
    with pytest.raises(ArtifactError, match=r"b\.npz cannot be read"):
        read_arrays(tmp_path / "b.npz", terms, IDS)


def test_a_damaged_member_is_refused(tmp_path: Path, terms: Manifest) -> None:
    write_arrays(tmp_path / "a.npz", IDS, arrays(), "0" * 64)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    start = content.index(b"ids.npy") + len(b"ids.npy") + 20  # behind the sizes in the local header
    content[start] = 0xFF  # no kind of block that deflate has
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.npz cannot be read"):
        read_arrays(tmp_path / "a.npz", terms, IDS)


def test_fewer_rows_than_ids_are_refused(tmp_path: Path, terms: Manifest) -> None:
    write_arrays(tmp_path / "a.npz", (*IDS, "image-1", "image-3"), arrays(), "0" * 64)
    with pytest.raises(ArtifactError, match=r"float64 \[3, .*\], not float64 \[4, "):
        read_arrays(tmp_path / "a.npz", terms, IDS)


def test_arrays_without_a_figure_that_gates_are_refused(tmp_path: Path, terms: Manifest) -> None:
    """One that only informs may be missing: files written before it was measured stay good."""
    given = arrays()
    gated, *others = given["normals"]
    write_arrays(
        tmp_path / "a.npz", (*IDS, "image-1"), {**given, "normals": {gated: given["normals"][gated]}}, "0" * 64
    )
    assert list(read_arrays(tmp_path / "a.npz", terms, IDS)["normals"]) == [gated]
    assert others
    less = {name: array for name, array in given["normals"].items() if name != gated}
    write_arrays(tmp_path / "a.npz", (*IDS, "image-1"), {**given, "normals": less}, "0" * 64)
    with pytest.raises(ArtifactError, match=f"holds no normals.{gated}"):
        read_arrays(tmp_path / "a.npz", terms, IDS)


def test_arrays_that_cannot_be_written_leave_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arrays(tmp_path / "a.npz", IDS, arrays(), "0" * 64)
    before = (tmp_path / "a.npz").read_bytes()

    def full(stream: object, **arrays: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(InputError, match="No space left"):
        write_arrays(tmp_path / "a.npz", IDS, arrays(), "0" * 64)
    assert (tmp_path / "a.npz").read_bytes() == before and list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_arrays_of_other_tasks_are_refused(tmp_path: Path, terms: Manifest) -> None:
    write_arrays(tmp_path / "a.npz", IDS, {"depth": {"rmse_m": np.zeros((2, 2))}}, "0" * 64)
    with pytest.raises(ArtifactError, match="name different tasks"):
        read_arrays(tmp_path / "a.npz", terms, IDS)


def test_the_bundles_own_images_carry_every_figure_of_the_reference(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", count=4)
    with bundled(bundle) as source:
        assert len(source.ids) == 4 and bundle.manifest.dataset == SPEC
        for name, channels in TASKS.items():
            assert list(source.references[name]) == [one.name for one in task(name).figures(channels)]


def test_hard_images_are_shown_and_counted_apart(tmp_path: Path) -> None:
    made = make_bundle(tmp_path / "b", count=4)
    *random, last = evaluated(4)
    write_vectors(made.folder / "vectors.npz", [*random, replace(last, role="hard")], tasks=TASKS, spec=SPEC)
    write_manifest(made.folder, manifest(made.folder))
    seen: list[tuple[int, int]] = []
    with bundled(load_bundle(made.folder)) as source:
        assert (len(source.ids), source.hard) == (3, 1)
    run(
        load_bundle(made.folder),
        session("raw"),
        HERE,
        resamples=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    "change",
    [{"ignore_index": 254}, {"depth_unit_m": 0.01}, {"classes": {**SPEC.classes, "semseg": ("a", "b", "c", "d")}}],
    ids=lambda change: next(iter(change)),
)
def test_a_folder_whose_spec_means_something_else_is_refused(
    tmp_path: Path, terms: Manifest, change: dict[str, object]
) -> None:
    root = folder(tmp_path / "rooms")
    spec = terms.dataset.model_copy(update={"name": "another", "attribution": "another"})
    (root / "dataset.json").write_text(spec.model_dump_json())
    assert labelled(terms, root, "val", None).ids == IDS  # another name means nothing
    (root / "dataset.json").write_text(spec.model_copy(update=change).model_dump_json())
    with pytest.raises(DatasetError, match="mean something else"):
        labelled(terms, root, "val", None)
    unread = terms.model_copy(update={"agreement": tuple(terms.tasks)})
    if "classes" in change:  # of labels that nothing reads
        assert labelled(unread, root, "val", None).ids == IDS
    (root / "dataset.json").unlink()
    assert labelled(terms, root, "val", None).ids == IDS
