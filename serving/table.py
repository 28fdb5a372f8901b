"""The frameworks that files are written for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from serving.deepstream import write_deepstream
from serving.isaac_ros import write_isaac_ros
from serving.model_api import write_model_api
from serving.offer import Offer, Written
from serving.ovms import write_ovms
from serving.triton import write_triton

Framework: TypeAlias = Literal["triton", "ovms", "model-api", "deepstream", "isaac-ros"]

FRAMEWORKS: Mapping[Framework, Callable[[Offer], Written]] = MappingProxyType(
    {
        "triton": write_triton,
        "ovms": write_ovms,
        "model-api": write_model_api,
        "deepstream": write_deepstream,
        "isaac-ros": write_isaac_ros,
    }
)
