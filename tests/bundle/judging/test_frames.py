"""A frame in, maps out: both interfaces give the same, and take only a frame of the model's size."""

from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import DatasetError
from bundle.formats.io_forms import Io
from bundle.judging.frames import feed, predictions
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from tests.bundle.made import HEIGHT, PREPROCESS, TASKS, WIDTH, image, make_bundle, model, session

IOS: tuple[Io, ...] = ("raw", "edge", "nchw", "nhwc")


@pytest.mark.parametrize("io", IOS)
def test_maps_are_the_models_answers_whatever_the_interface(tmp_path: Path, io: Io) -> None:
    manifest = make_bundle(tmp_path / "b", io=io, count=2).manifest
    fed = feed(manifest, image(0))
    [taken] = manifest.inputs
    assert (str(fed["image"].dtype), fed["image"].shape) == (taken.dtype, taken.shape)
    maps = predictions(manifest, session(io)(fed))
    expected = model(PREPROCESS.apply(image(0)))
    assert list(maps) == list(TASKS)
    for name, values in maps.items():
        np.testing.assert_array_equal(values, predict(task(name), expected[name][0]))


@pytest.mark.parametrize("io", IOS)
def test_a_frame_of_another_size_or_type_is_refused_by_name(tmp_path: Path, io: Io) -> None:
    manifest = make_bundle(tmp_path / "b", io=io, count=2).manifest
    with pytest.raises(DatasetError, match="wrong size") as caught:
        feed(manifest, np.zeros((WIDTH, HEIGHT, 3), np.uint8), name="frame 7")
    assert caught.value.where == "frame 7"
    assert (caught.value.expected, caught.value.got) == ("height 24, width 32", "height 32, width 24")
    for frame in (np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)):
        with pytest.raises(DatasetError, match="dtype or shape"):
            feed(manifest, frame)


@pytest.mark.parametrize("io", IOS)
def test_a_frame_gets_the_size_by_the_policy_of_the_bundles_data(tmp_path: Path, io: Io) -> None:
    manifest = make_bundle(tmp_path / "b", io=io, count=2).manifest
    spec = manifest.dataset.model_copy(update={"schema_version": 2, "size_policy": "stretch"})
    fitting = manifest.model_copy(update={"dataset": spec})
    frame = np.full((7, 90, 3), 50, np.uint8)
    same = np.full((HEIGHT, WIDTH, 3), 50, np.uint8)
    np.testing.assert_array_equal(feed(fitting, frame)["image"], feed(manifest, same)["image"])
