"""The graph's own pre- and postprocessing against the NumPy ones."""

import numpy as np
import pytest
import torch

from bundle.tasks.postprocess import predict
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.table import TASKS, Task
from compile.graphs.io_wrappers import EdgeModel, Postprocessing, Preprocessing, RawModel
from tests.compile import made

PREPROCESS = Preprocess(height=6, width=5, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.7))


def test_preprocessing_is_bit_for_bit_the_numpy_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    inside = Preprocessing(PREPROCESS)(torch.from_numpy(image[None])).numpy()
    assert np.array_equal(inside, PREPROCESS.apply(image))


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_postprocessing_is_the_numpy_one(row: Task) -> None:
    raw = np.random.default_rng(1).normal(size=(row.channels or 5, 7, 4)).astype(np.float32)
    raw[:, 0, 0] = 0.0  # a zero vector, and a tie between all classes
    inside = Postprocessing(row.kind)(torch.from_numpy(raw[None])).numpy()[0]
    outside = predict(row, raw)
    assert inside.dtype == outside.dtype and inside.shape == outside.shape
    assert np.allclose(inside, outside, atol=1e-6)


def test_the_wrapped_models_give_one_output_per_task_in_order() -> None:
    image = made.image(0)
    model, preprocess = made.model(), made.INFO["raw"].preprocess
    raw = RawModel(model)(torch.from_numpy(preprocess.apply(image)))
    edge = EdgeModel(model, preprocess, tuple(made.TASKS))(torch.from_numpy(image[None]))
    assert [output.shape[1] for output in raw] == list(made.TASKS.values())
    assert [(output.dtype, output.dim()) for output in edge] == [
        (torch.uint8, 3),
        (torch.uint8, 3),
        (torch.float32, 3),
        (torch.float32, 4),
        (torch.float32, 3),
        (torch.float32, 3),
    ]
