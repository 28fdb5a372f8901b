"""The limits on numbers and sizes that come from outside: one table, checked before memory is asked for.

A limit is far above what any real model, image or report needs. It keeps a wrong or hostile number from becoming an
allocation, an endless loop or an exception of a library. The types below are the numbers of configurations and files
that follow from the table. None of them takes NaN or infinity (bundle/base/frozen.py). Neither ``true`` nor ``"3"``
is an integer.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import Field

from bundle.base.errors import InputError

MIB = 1 << 20


class Limit(NamedTuple):
    """The largest number that is taken, its unit, and why it is enough."""

    most: int
    unit: str
    reason: str


LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "image_side": Limit(16_384, "pixels", "an image of 2^26 pixels is 4,096 rows of it"),
        "image_pixels": Limit(1 << 26, "pixels", "as uint8 RGB 192 MiB, as float32 768 MiB"),
        "classes": Limit(254, "classes", "a label is one byte, and 255 is the ignored one"),
        "stages": Limit(64, "stages", "a backbone without stages may be cut after each block"),
        "blocks": Limit(256, "blocks of a stage", "the deepest published backbones have fewer than 100"),
        "width": Limit(65_536, "channels", "the widest published backbones have fewer than 10,000"),
        "experts": Limit(256, "skills", "each is a module of each block and task"),
        "small_integer": Limit(4_096, "", "windows, patches, strides, heads and ranks are below 1,000"),
        "mlp_ratio": Limit(256, "", "published backbones have 4"),
        "parameters": Limit(4_000_000_000, "parameters", "16 GB of float32: more than a host can fold"),
        "share": Limit(1, "", "a part of a whole"),
        "real": Limit(1_000_000, "", "larger factors, means and rates overflow float32 products"),
        "count": Limit(1_000_000_000, "", "images, steps and rounds are counted in fewer"),
        "batch": Limit(65_536, "images", "a batch is held in memory"),
        "processes": Limit(1_024, "processes", "one per GPU of a machine"),
        "threads": Limit(4_096, "threads", "the largest servers have fewer than 1,000 cores"),
        "seconds": Limit(1_000_000, "seconds", "eleven days"),
        "workspace_mib": Limit(1_048_576, "MiB", "no device has a tebibyte of memory"),
        "seed": Limit(2**32 - 1, "", "NumPy and PyTorch take 32 bits without a sign alike"),
        "name": Limit(128, "characters", "a file name has 255 bytes, and a bundle's name gains its tasks and a suffix"),
        "split_name": Limit(200, "characters", "a split is a file name of at most 255 bytes"),
        "toml_depth": Limit(64, "names", "a key of a configuration has three; a parser's work grows with the square"),
        "toml_bytes": Limit(4 * MIB, "bytes", "a configuration has a few kilobytes"),
        "json_bytes": Limit(256 * MIB, "bytes", "a regression.json of 100,000 images has about 100 MiB"),
        "ids_bytes": Limit(64 * MIB, "bytes", "a split of a million ids has about 20 MiB"),
        "array_bytes": Limit(1024 * MIB, "bytes", "the figures of 100,000 images have about 80 MB a task"),
        "onnx_nesting": Limit(16, "graphs", "a graph in a node's graph: control flow is nested two or three deep"),
        "onnx_nodes": Limit(1_000_000, "nodes", "with each call replaced by its function; large models have 10,000"),
        "bundle_bytes": Limit(2048 * MIB, "bytes", "all files of a bundle together, unpacked"),
        "bundle_files": Limit(4_096, "files", "a bundle has fewer than a hundred"),
        "manifest_bytes": Limit(16 * MIB, "bytes", "a manifest has about 20 kB"),
        "result_bytes": Limit(50_000_000, "bytes", "a result of a device is under a megabyte"),
        "path_bytes": Limit(1_024, "bytes", "a path in an archive"),
        "path_part_bytes": Limit(255, "bytes", "a file name: NAME_MAX of Linux"),
    }
)

_REAL = LIMITS["real"].most
_LEAST = 1e-12  # 1 / (255 · least) is finite in float32

Side: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["image_side"].most)]
Width: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["width"].most)]
Blocks: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["blocks"].most)]
Experts: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["experts"].most)]
Ratio: TypeAlias = Annotated[float, Field(ge=_LEAST, le=LIMITS["mlp_ratio"].most)]
Small: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["small_integer"].most)]
Channels: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["classes"].most)]
Count: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["count"].most)]
CountOrNone: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=LIMITS["count"].most)]
Batch: TypeAlias = Annotated[int, Field(strict=True, gt=0, le=LIMITS["batch"].most)]
Threads: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=LIMITS["threads"].most)]
Seed: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=LIMITS["seed"].most)]
Real: TypeAlias = Annotated[float, Field(ge=-_REAL, le=_REAL, allow_inf_nan=False)]
Positive: TypeAlias = Annotated[float, Field(ge=_LEAST, le=_REAL, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, le=_REAL, allow_inf_nan=False)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=LIMITS["name"].most)]
SplitName: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=LIMITS["split_name"].most)]


def read_limited(path: Path, limit: str) -> bytes:
    """Return the bytes of a file, of which there are no more than ``LIMITS[limit]``.

    Raises:
        InputError: there are more.
        OSError: the file cannot be read.
    """
    most = LIMITS[limit].most
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise InputError(
            f"{path.name} is too large",
            expected=f"at most {most} bytes: {LIMITS[limit].reason}",
            got="more",
            where=str(path),
            fix="name another file",
        )
    return content
