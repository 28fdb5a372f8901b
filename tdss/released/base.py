"""The contract of a reader: the weights of a released model to a configuration, and to our names."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from torch import Tensor

from tdss.backbones.base import Published
from tdss.config import ModelConfig

Weights: TypeAlias = Mapping[str, Tensor]
Keys: TypeAlias = dict[str, object]
"""Keys of a config.toml, with tables as dictionaries."""


class Reader(NamedTuple):
    """Two functions of the weights of one system, whose names are those of its released code.

    ``describe`` returns the keys of config.toml that the weights tell; what they cannot tell is left out or a default.
    ``translate`` returns the tensors under our names, and leaves out those that have no effect. A name
    that it does not know keeps a name that no model has, and is refused as unexpected.
    """

    describe: Callable[[Weights], Keys]
    translate: Callable[[Weights, ModelConfig], Published]
