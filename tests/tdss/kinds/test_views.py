"""What a random view does to labels, against what geometry says."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.table import task
from tdss.kinds.probability import view_edges
from tdss.kinds.tensor_kind import tensors, view_labels

WHOLE = [0, 0, 8, 8]
NORMALS, DEPTH = (tensors(task(name).kind) for name in ("normals", "depth"))


def plane_normals(x: float) -> Tensor:
    """A wall that faces (x, 0, z): float32 [1, 3, 8, 8]."""
    return torch.tensor([x, 0.0, (1 - x * x) ** 0.5]).view(1, 3, 1, 1).expand(1, 3, 8, 8).clone()


def test_a_flip_negates_the_normals_x_only() -> None:
    normals = torch.cat([plane_normals(0.6), plane_normals(0.6)])
    flipped = NORMALS.view(normals, [WHOLE, WHOLE], [True, False])
    torch.testing.assert_close(flipped[0], plane_normals(-0.6)[0])
    torch.testing.assert_close(flipped[1], normals[1])


def test_normals_of_a_mirrored_depth_are_the_flipped_normals() -> None:
    """Normals computed from a mirrored depth map are the mirror image of those of the depth map, x negated."""
    depth = torch.rand(1, 8, 8)

    def from_depth(z: Tensor) -> Tensor:
        across = functional.pad((z[..., 2:] - z[..., :-2]) / 2, (1, 1))
        return functional.normalize(torch.stack([across, torch.zeros_like(z), torch.ones_like(z)], 1), dim=1)

    expected = from_depth(view_labels(depth, [WHOLE], [True]))
    got = NORMALS.view(from_depth(depth), [WHOLE], [True])
    torch.testing.assert_close(got, expected)


def test_a_zoom_brings_things_nearer() -> None:
    depth = torch.full((1, 8, 8), 4.0)
    assert DEPTH.view(depth, [[0, 0, 4, 4]], [False])[0, 0, 0].item() == pytest.approx(2.0)
    assert DEPTH.view(torch.zeros(1, 8, 8), [[0, 0, 4, 4]], [False]).abs().max().item() == 0.0


@pytest.mark.parametrize("flip", [False, True])
def test_edges_stay_one_pixel_wide(flip: bool) -> None:
    edges = torch.zeros(1, 8, 8, dtype=torch.uint8)
    edges[0, :, 3] = 1
    got = view_edges(edges, [[0, 0, 4, 4]], [flip])[0]
    assert got.sum(1).tolist() == [1] * 8
    assert view_edges(edges.mT.contiguous(), [[0, 0, 4, 4]], [flip])[0].sum(0).tolist() == [1] * 8
    torch.testing.assert_close(view_edges(edges, [WHOLE], [False]), edges)
