"""A graph is fed what its interface says."""

import numpy as np
import pytest

from bundle.base.errors import DatasetError
from tests.compile import made


@pytest.mark.parametrize("io", ["raw", "edge"])
def test_a_graph_is_fed_what_its_interface_says(io: str) -> None:
    info = made.INFO[io]
    fed = info.feed(made.image(1))["image"]
    [spec] = info.interface[0]
    assert (str(fed.dtype), fed.shape) == (spec.dtype, spec.shape)
    if io == "edge":
        assert np.array_equal(fed[0], made.image(1))


@pytest.mark.parametrize("io", ["raw", "edge"])
def test_another_size_is_refused_whatever_the_interface(io: str) -> None:
    with pytest.raises(DatasetError, match="wrong size"):
        made.INFO[io].feed(made.image(1)[:-1], name="a picture")
