"""A few images chosen to cover what many show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.base.errors import DatasetError
from studies.quantization.feature_coverage import choose_covering


def test_each_cluster_gives_one_image() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    points = (centres[:, None] + generator.normal(size=(4, 30, 2))).reshape(-1, 2)
    for seed in range(5):
        chosen = choose_covering(points, 4, seed=seed)
        assert sorted(one // 30 for one in chosen) == [0, 1, 2, 3]


def test_a_rare_kind_is_not_missed() -> None:
    points = np.concatenate([np.zeros((99, 3)), np.ones((1, 3))])
    assert 99 in choose_covering(points, 2, seed=0)


@given(images=st.integers(1, 20), count=st.integers(1, 25), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_it_gives_as_many_different_images_as_asked(images: int, count: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(images, 3)).round()
    chosen = choose_covering(points, count, seed=seed)
    assert len(set(chosen)) == len(chosen) == min(images, count) and list(chosen) == sorted(chosen)
    assert chosen == choose_covering(points, count, seed=seed)


@pytest.mark.parametrize(("count", "value"), [(0, 1.0), (1, np.nan)])
def test_nonsense_is_refused(count: int, value: float) -> None:
    with pytest.raises(DatasetError, match="cannot be chosen"):
        choose_covering(np.full((3, 2), value), count, seed=0)
