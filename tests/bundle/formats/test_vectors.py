"""vectors.npz: exact, deterministic, streamed, and readable from its documentation alone."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, CheckpointError, DatasetError
from bundle.formats.stored_maps import OUTPUT_STEP, PREDICTION_STEP, kept, kept_output
from bundle.formats.vectors import FULL, Evaluated, Vectors, write_vectors
from bundle.tasks.dataset import decode_label
from bundle.tasks.metrics import ShareUnderDeg
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from tests.bundle.made import SPEC, TASKS, evaluated

COUNT = 11


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "vectors.npz"
    assert write_vectors(path, evaluated(COUNT), tasks=TASKS, spec=SPEC) == COUNT
    return path


def write(path: Path, images: Iterator[Evaluated]) -> None:
    write_vectors(path / "vectors.npz", images, tasks=TASKS, spec=SPEC)


def test_everything_comes_back_exactly(stored: Path) -> None:
    with Vectors(stored) as vectors:
        assert vectors.tasks == tuple(TASKS) and len(vectors.ids) == COUNT
        for index, (back, given) in enumerate(zip(vectors.images(), evaluated(COUNT), strict=True)):
            assert back.id == given.id
            np.testing.assert_array_equal(back.image, given.image, strict=True)
            for name in TASKS:
                np.testing.assert_array_equal(back.labels[name], given.labels[name], strict=True)
            assert set(back.outputs) == (set(TASKS) if index < FULL else set())
            for name, raw in back.outputs.items():
                np.testing.assert_array_equal(raw, given.outputs[name][:, ::OUTPUT_STEP, ::OUTPUT_STEP], strict=True)


def test_predictions_come_back_to_the_precision_they_are_kept_in(stored: Path) -> None:
    bounds = {"saliency": 0.5 / 255, "edge": 0.5 / 255, "normals": 0.5 / 127, "depth": 8 * 2.0**-11}
    with Vectors(stored) as vectors:
        for back, given in zip(vectors.images(), evaluated(COUNT), strict=True):
            for name, got in back.predictions.items():
                step = 1 if task(name).channels is None else PREDICTION_STEP
                exact = predict(task(name), given.outputs[name])[..., ::step, ::step]
                assert (got.dtype, got.shape) == (exact.dtype, exact.shape)
                off = np.abs(got.astype(np.float64) - exact.astype(np.float64)).max()
                assert off <= bounds.get(name, 0.0) + 1e-7


def test_metric_arrays_are_the_references(stored: Path) -> None:
    with Vectors(stored) as vectors:
        for name, channels in TASKS.items():
            judge = task(name).judge(channels)
            expected = [
                judge.per_image(predict(task(name), e.outputs[name]), decode_label(name, e.labels[name], SPEC))
                for e in evaluated(COUNT)
            ]
            np.testing.assert_array_equal(vectors.metric(name), np.stack(expected), strict=True)


def test_numpy_alone_reads_the_file_as_documented(stored: Path) -> None:
    given = list(evaluated(COUNT))
    with np.load(stored, allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == [e.id for e in given]
        assert arrays["roles"].tolist() == ["random"] * COUNT
        planes = arrays["images"].cumsum(axis=2, dtype=np.uint8).cumsum(axis=3, dtype=np.uint8)
        planes[:, 0::2] += planes[:, 1:2]
        np.testing.assert_array_equal(planes.transpose(0, 2, 3, 1), np.stack([e.image for e in given]))
        np.testing.assert_array_equal(arrays["label_normals"], np.stack([e.labels["normals"] for e in given]))
        depth = unfolded(arrays["ref_pred_depth"], np.uint16).view(np.float16)
        exact = np.stack([np.maximum(e.outputs["depth"][0, ::4, ::4], 0) for e in given])
        np.testing.assert_allclose(depth, exact, rtol=1e-3)
        raw = unfolded(arrays["ref_raw_semseg"], np.uint32).view(np.float32)
        np.testing.assert_array_equal(raw, np.stack([e.outputs["semseg"][:, ::7, ::7] for e in given[:FULL]]))


def unfolded(stored: Array, kind: type[np.unsignedinteger]) -> Array:
    """The documented inverse, written once more: bytes together, halves unfolded, running sums over the last two axes."""
    folded = sum(stored[:, byte].astype(np.int64) << (8 * byte) for byte in range(kind().itemsize))
    signed = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    return signed.astype(kind).cumsum(axis=-2, dtype=kind).cumsum(axis=-1, dtype=kind)


@pytest.mark.parametrize("name", list(TASKS))
def test_a_kept_prediction_is_shown_in_the_size_of_the_image(stored: Path, name: str) -> None:
    with Vectors(stored) as vectors:
        first = next(vectors.images())
    shown, prediction = first.shown(name), first.predictions[name]
    assert shown.shape[-2:] == first.image.shape[:2]
    np.testing.assert_array_equal(kept(task(name).kind, shown), prediction)
    if name == "depth":
        middle = (prediction[0, 0] + prediction[0, 1]) / 2
        assert shown[0, 2] == pytest.approx(middle) and shown[0, -1] == prediction[0, -1]


def test_hard_images_are_kept_and_do_not_count(tmp_path: Path) -> None:
    given = list(evaluated(3))
    write(tmp_path, iter([given[0], replace(given[1], role="hard"), given[2]]))
    with Vectors(tmp_path / "vectors.npz") as vectors:
        assert vectors.roles == ("random", "hard", "random")
        assert vectors.counted.tolist() == [True, False, True]
        assert [stored.id for stored in vectors.images()] == [e.id for e in given]
        assert len(vectors.metric("depth")) == 3


def test_what_is_kept_of_an_output() -> None:
    assert kept_output(np.zeros((3, 15, 8))).shape == (3, 3, 2)
    assert kept(task("normals").kind, np.zeros((3, 9, 8))).shape == (3, 3, 2)
    assert kept(task("semseg").kind, np.zeros((9, 8))).shape == (9, 8)


def test_equal_arrays_give_equal_bytes(stored: Path, tmp_path: Path) -> None:
    write(tmp_path, evaluated(COUNT))
    assert (tmp_path / "vectors.npz").read_bytes() == stored.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.npz"]


@pytest.mark.parametrize("name", list(TASKS))
def test_compact_rounds_to_the_nearest(name: str) -> None:
    kind = task(name).kind
    for given in evaluated(2):
        once = kind.compact(predict(task(name), given.outputs[name]))
        np.testing.assert_array_equal(kind.compact(kind.expand(once)), once, strict=True)


def test_compact_depth_stays_finite() -> None:
    assert np.isfinite(task("depth").kind.compact(np.array([[1e9]], np.float32))).all()


def large(count: int) -> Iterator[Evaluated]:
    random = np.random.default_rng(0)
    for index in range(count):
        raw = random.normal(size=(1, 128, 128)).astype(np.float32)
        pixels = random.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        yield Evaluated(
            id=str(index), image=pixels, labels={"depth": np.ones((128, 128), np.uint16)}, outputs={"depth": raw}
        )


def peaks(path: Path, count: int) -> tuple[int, int]:
    tracemalloc.start()
    write_vectors(path, large(count), tasks={"depth": 1}, spec=SPEC)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    with Vectors(path) as vectors:
        assert sum(1 for _ in vectors.images()) == count
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return writing, reading


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    few, many = peaks(tmp_path / "few.npz", 30), peaks(tmp_path / "many.npz", 90)
    assert many[0] < 1.3 * few[0] and many[1] < 1.3 * few[1]


def broken(**changes: object) -> Iterator[Evaluated]:
    first, second = evaluated(2)
    yield first
    yield replace(second, **changes)  # type: ignore[arg-type]


def outputs(name: str, value: Array) -> dict[str, Array]:
    return {**dict(next(iter(evaluated(1))).outputs), name: value}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"outputs": outputs("depth", np.full((1, 24, 32), np.nan, np.float32))},
            CheckpointError,
            "depth output is not finite",
        ),
        (
            {"outputs": outputs("depth", np.zeros((1, 24, 32), np.float64))},
            DatasetError,
            "ref_raw_depth of image 'image-1'",
        ),
        ({"id": "image-0"}, DatasetError, "occurs twice"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, DatasetError, "images of image 'image-1' does not fit"),
        ({"image": np.zeros((24, 32, 3), np.float32)}, DatasetError, "wrong dtype or shape"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path, broken(**changes))
    assert list(tmp_path.iterdir()) == []


def test_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no evaluation image"):
        write(tmp_path, evaluated(0))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"vectors\.npz cannot be read"):
        Vectors(tmp_path / "vectors.npz")


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_a_truncated_file_is_refused(stored: Path, tmp_path: Path, keep: float) -> None:
    content = stored.read_bytes()
    (tmp_path / "vectors.npz").write_bytes(content[: int(keep if keep >= 1 else len(content) * keep)])
    with pytest.raises(ArtifactError, match=r"vectors\.npz cannot be read"):
        Vectors(tmp_path / "vectors.npz")


@pytest.mark.parametrize("member", ["ids.npy", "ref_metric_depth.npy"])
def test_a_member_that_does_not_inflate_is_refused(stored: Path, tmp_path: Path, member: str) -> None:
    content = bytearray(stored.read_bytes())
    content[content.index(member.encode()) + len(member) + 20] = 0xFF  # behind the header: no kind of block deflate has
    (tmp_path / "vectors.npz").write_bytes(content)
    with (
        pytest.raises(ArtifactError, match=r"vectors\.npz cannot be read"),
        Vectors(tmp_path / "vectors.npz") as vectors,
    ):
        vectors.metric("depth")


def test_a_damaged_member_is_refused_when_it_is_read(stored: Path, tmp_path: Path) -> None:
    content = bytearray(stored.read_bytes())
    content[content.index(b"images.npy") + 500] ^= 0xFF
    (tmp_path / "vectors.npz").write_bytes(content)
    with (
        Vectors(tmp_path / "vectors.npz") as vectors,
        pytest.raises(ArtifactError, match=r"vectors\.npz cannot be read"),
    ):
        list(vectors.images())


def test_a_task_that_is_not_stored_is_named(stored: Path) -> None:
    with Vectors(stored) as vectors, pytest.raises(ArtifactError, match="ref_metric_flow"):
        vectors.metric("flow")


def test_every_figure_of_a_task_is_kept_exactly(stored: Path) -> None:
    rows = {name: task(name).figures(channels) for name, channels in TASKS.items()}
    with Vectors(stored) as vectors:
        images = list(evaluated(COUNT))
        for name, figures in rows.items():
            for figure in figures:
                kept = vectors.figure(name, figure)
                assert kept is not None and kept.shape == (COUNT, *figure.shape)
                fresh = figure.per_image(
                    predict(task(name), images[0].outputs[name]), decode_label(name, images[0].labels[name], SPEC)
                )
                np.testing.assert_array_equal(kept[0], fresh)
            np.testing.assert_array_equal(vectors.figure(name, figures[0]), vectors.metric(name))


def test_a_figure_the_file_was_written_without_is_none(stored: Path) -> None:
    unknown = ShareUnderDeg(name="share_under_1_deg", title="share < 1°", angle_deg=1.0)
    with Vectors(stored) as vectors:
        assert vectors.figure("normals", unknown) is None
