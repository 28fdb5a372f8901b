"""Small models of this project as the graphs that folding sees: random configurations of every adapter, random task subsets."""

import torch
from hypothesis import strategies

from compile.graphs.io_wrappers import RawModel
from tdss.adapters.config import SsfConfig
from tdss.config import ModelConfig
from tests.compile.folding.exporting import export_simplified
from tests.compile.folding.models import adapted, configs, make_model, mtloras, subsets
from tests.compile.folding.networks import Network


def exported(config: ModelConfig) -> Network:
    """The unfolded model with seeded random weights as a graph, an output for each task."""
    image = torch.randn((1, 3, config.image.height, config.image.width), generator=torch.Generator().manual_seed(1))
    model = RawModel(make_model(config).float()).eval()
    graph = export_simplified(model, image, names=("image",), outputs=tuple(config.tasks))
    return Network(graph, {"image": image.numpy()})


ssfs = strategies.builds(
    adapted, strategies.just(SsfConfig(kind="ssf")), tasks=subsets, size=strategies.sampled_from([24, 32, 44])
)
project_configs = (
    configs | mtloras | ssfs
)  # to be exported in the test's body: the exporter draws random numbers of its own
