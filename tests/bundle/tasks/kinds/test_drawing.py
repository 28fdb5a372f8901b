import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.base.errors import DatasetError
from bundle.tasks.kinds.colours import IGNORE_COLOUR, VIRIDIS, Inks, ramp
from bundle.tasks.metrics import angles_deg
from bundle.tasks.table import TASKS, Task, task

PALETTE = ((1, 2, 3), (40, 50, 60), (250, 240, 230))
INKS = Inks(palette=PALETTE, low=1.0, high=3.0)


def test_a_label_map_is_drawn_by_the_palette() -> None:
    picture = task("semseg").kind.draw(np.array([[0, 1], [2, 255]], np.uint8), INKS)
    assert picture.tolist() == [[[1, 2, 3], [40, 50, 60]], [[250, 240, 230], list(IGNORE_COLOUR)]]


def test_a_class_without_a_colour_is_refused() -> None:
    with pytest.raises(DatasetError, match="a class has no colour") as caught:
        task("semseg").kind.draw(np.array([[3]], np.uint8), INKS)
    assert (caught.value.expected, caught.value.got) == ("an index below 3", "3")


def test_probabilities_are_grey() -> None:
    picture = task("edge").kind.draw(np.array([[0.0, 0.5, 1.0, 1.2]], np.float32), INKS)
    assert picture[0, :, 0].tolist() == [0, 128, 255, 255]
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()


def test_a_binary_label_is_black_and_white() -> None:
    assert task("saliency").kind.draw(np.array([[0, 1]], np.uint8), INKS)[0, :, 2].tolist() == [0, 255]


def test_normals_are_the_label_format_and_black_where_invalid() -> None:
    encoded = np.array([[[128, 255, 128], [0, 0, 0], [30, 60, 200]]], np.uint8)
    vectors = np.where(encoded.any(axis=2, keepdims=True), encoded / 127.5 - 1, 0.0).transpose(2, 0, 1)
    assert task("normals").kind.draw(vectors.astype(np.float32), INKS).tolist() == encoded.tolist()


def test_depth_goes_from_yellow_to_dark_blue() -> None:
    picture = task("depth").kind.draw(np.array([[0.5, 1.0, 3.0, 9.0, 0.0]], np.float32), INKS)[0].tolist()
    assert picture == [list(VIRIDIS[-1]), list(VIRIDIS[-1]), list(VIRIDIS[0]), list(VIRIDIS[0]), [0, 0, 0]]


def test_the_ramp_is_viridis() -> None:
    colormaps = pytest.importorskip("matplotlib", reason="matplotlib has the colours to compare with").colormaps
    values = np.linspace(0, 1, 256)[None]
    expected = colormaps["viridis"](values[0])[:, :3] * 255
    assert np.abs(ramp(values)[0].astype(float) - expected).max() < 6.5


def test_the_ramp_grows_brighter() -> None:
    luminance = ramp(np.linspace(0, 1, 200)[None])[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.9).all() and luminance[-1] > luminance[0] + 150


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_every_task_is_drawn_in_its_own_shape(row: Task) -> None:
    values = np.zeros((*row.kind.axes, 4, 5), row.kind.dtype)
    picture = row.kind.draw(values, INKS)
    assert (picture.shape, picture.dtype) == ((4, 5, 3), np.uint8)
    assert row.kind.draw_change(values, values).shape == (4, 5, 3)
    with pytest.raises(DatasetError, match=f"no map of the kind {type(row.kind).__name__}"):
        row.kind.draw(values[None], INKS)


def test_the_depth_span_leaves_invalid_and_extreme_pixels_out() -> None:
    metres = np.concatenate([np.zeros(500), np.linspace(1, 2, 1000), [50.0]])[None]
    kind = task("depth").kind
    inks = kind.inks((), metres)
    near, far = inks.low, inks.high
    assert near == pytest.approx(1.01, abs=0.005) and far == pytest.approx(1.99, abs=0.01)
    assert kind.inks((), np.zeros((2, 2))) == Inks()


def test_change_has_the_unit_of_its_task() -> None:
    assert task("semseg").kind.change(np.array([[1, 2]]), np.array([[1, 3]])).tolist() == [[0.0, 1.0]]
    assert task("depth").kind.change(np.array([[1.0]]), np.array([[1.25]])).tolist() == [[0.25]]
    x, z = np.array([1.0, 0, 0])[:, None, None], np.array([0, 0, 1.0])[:, None, None]
    assert task("normals").kind.change(x, z).item() == pytest.approx(90.0)
    assert task("normals").kind.change(x, -x).item() == pytest.approx(180.0)
    assert task("normals").kind.change(x, 0 * x).item() == angles_deg(0 * x, x).item() == 90.0


@settings(deadline=None)
@given(st.floats(0.0, 180.0))
def test_the_angle_between_normals_is_the_angle_turned(degrees: float) -> None:
    turn = np.radians(degrees)
    before = np.array([0.0, 0.0, 1.0])[:, None, None]
    after = np.array([np.sin(turn), 0.0, np.cos(turn)])[:, None, None]
    assert task("normals").kind.change(before, after).item() == pytest.approx(degrees, abs=1e-6)
