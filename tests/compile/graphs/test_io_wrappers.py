"""The graph's own pre- and postprocessing against the NumPy ones."""

import numpy as np
import pytest
import torch

from bundle.formats.io_forms import FORMS, Io, model_input, prediction
from bundle.tasks.postprocess import predict
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.table import TASKS, Task
from compile.graphs.io_wrappers import MapModel, Postprocessing, Preprocessing, RawModel
from tests.compile import made

MAPS: tuple[Io, ...] = ("edge", "nchw", "nhwc")
PREPROCESS = Preprocess(height=6, width=5, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.7))


@pytest.mark.parametrize("io", MAPS)
def test_preprocessing_is_bit_for_bit_the_numpy_one(io: Io) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    given = {"edge": image, "nchw": image.transpose(2, 0, 1).astype(np.float32), "nhwc": image.astype(np.float32)}[io]
    inside = Preprocessing(PREPROCESS, FORMS[io])(torch.from_numpy(given[None].copy())).numpy()
    assert np.array_equal(inside, PREPROCESS.apply(image))
    assert np.array_equal(model_input(io, PREPROCESS, image), given[None], equal_nan=False)


@pytest.mark.parametrize("io", MAPS)
@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_postprocessing_is_the_numpy_one(row: Task, io: Io) -> None:
    raw = np.random.default_rng(1).normal(size=(row.channels or 5, 7, 4)).astype(np.float32)
    raw[:, 0, 0] = 0.0  # a zero vector, and a tie between all classes
    answer = Postprocessing(row.kind, FORMS[io])(torch.from_numpy(raw[None])).numpy()
    spec = FORMS[io].spec(row.name, row.kind, (7, 4))
    assert (str(answer.dtype), answer.shape) == (spec.dtype, spec.shape)
    inside, outside = prediction(io, row, answer[0]), predict(row, raw)
    assert inside.dtype == outside.dtype and inside.shape == outside.shape
    assert np.allclose(inside, outside, atol=1e-6)


def test_the_wrapped_models_give_one_output_per_task_in_order() -> None:
    image = made.image(0)
    model, preprocess = made.model(), made.INFO["raw"].preprocess
    raw = RawModel(model)(torch.from_numpy(preprocess.apply(image)))
    edge = MapModel(model, preprocess, tuple(made.TASKS), FORMS["edge"])(torch.from_numpy(image[None]))
    assert [output.shape[1] for output in raw] == list(made.TASKS.values())
    assert [(output.dtype, output.dim()) for output in edge] == [
        (torch.uint8, 3),
        (torch.uint8, 3),
        (torch.float32, 3),
        (torch.float32, 4),
        (torch.float32, 3),
        (torch.float32, 3),
    ]
