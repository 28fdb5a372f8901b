"""``vectors.npz``: the evaluation images of a bundle, their labels, and what the reference made of them.

    ids, roles, tasks      unicode [N], [N], [T]; a role is what an image is used for, see ``Role``
    unlabelled             unicode [U], the tasks without labels and without metric arrays; only where there are any
    images                 uint8 [N, H, W, 3]
    label_<task>           the encoded label (bundle/tasks/dataset.py): uint8 [N, H, W] or [N, H, W, 3], uint16 [N, H, W]
    ref_metric_<task>      float64 [N, …], the reference's per-image metric arrays (bundle/tasks/metrics.py)
    ref_metric_<task>.<f>  float64 [N, …], the same for each other figure of the task's kind
    ref_pred_<task>        the reference's predictions, compact: label maps uint8 of every pixel; of every fourth row and
                           column probabilities uint8 (p·255), normals int8 (n·127), depth float16
    ref_raw_<task>         float32, the reference's raw outputs for the first F ≤ 8 images, of every seventh row and column

Members are .npy files in a deflated zip with fixed time stamps: equal arrays give equal bytes. Arrays of pixels are
written in the ways of bundle/formats/delta_coding.py, which ``_members`` names (docs/decisions/0102, 0107).
Both directions hold one image at a time: each member is a stream of its own.
"""

import io
import math
import shutil
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.array_files import read_header, read_member, read_names, read_rows
from bundle.base.errors import ArtifactError, CheckpointError, DatasetError
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS
from bundle.base.zip_entries import UNREADABLE, new_entry
from bundle.formats.delta_coding import Encoding, decode, encode
from bundle.formats.stored_maps import kept, kept_output, stretched
from bundle.tasks.dataset import check_encoded, check_ids, check_image, decode_label
from bundle.tasks.metrics import Floats, Metric
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import Task, task

Role: TypeAlias = Literal["random", "hard"]
"""``random``: drawn at random, counts for the metrics. ``hard``: chosen because it is hard, so it counts for none; how
alike the two models' answers are is seen on it too."""
FULL = 8  # images with raw outputs


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One image to store: uint8 ``[H, W, 3]``, its encoded labels, the reference's raw float32 ``[C, H, W]`` by task."""

    id: str
    image: NDArray[np.uint8]
    labels: Mapping[str, Array]
    outputs: Mapping[str, Array]
    role: Role = "random"


@dataclass(frozen=True, kw_only=True)
class EvaluationSample:
    """One image read back. ``labels`` are encoded. ``predictions`` have the dtypes of bundle/tasks/postprocess.py and
    the pixels of ``kept``, in the precision they are stored with. ``outputs`` has the pixels of ``kept_output``, and
    is empty after the first ``FULL`` images."""

    id: str
    image: NDArray[np.uint8]
    labels: dict[str, Array]
    predictions: dict[str, Array]
    outputs: dict[str, Array]

    def shown(self, name: str) -> Array:
        """Return a kept prediction in the size of the image, for a picture: what was left out is interpolated."""
        height, width = self.image.shape[:2]
        prediction = self.predictions[name]
        if prediction.shape[-2:] == (height, width):
            return prediction
        return stretched(stretched(prediction, -2, height), -1, width)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """How one array of pixels is stored: its dtype outside, the axis of an image's rows, the encoding."""

    name: str
    dtype: np.dtype[np.generic]
    row_axis: int = 0
    encoding: Encoding = "difference"


def _members(tasks: Iterable[str], unlabelled: Collection[str]) -> dict[str, _Member]:
    byte = np.dtype(np.uint8)
    members = [_Member(name="images", dtype=byte, encoding="colour")]
    for name in tasks:
        kind = task(name).kind
        label, stored = np.dtype(kind.label_dtype), np.dtype(kind.stored)
        label_coding: Encoding = "plain" if label == byte else "difference"
        coding: Encoding = "plain" if kind.all_pixels else "difference"  # the differences of class numbers say nothing
        labels = [] if name in unlabelled else [_Member(name=f"label_{name}", dtype=label, encoding=label_coding)]
        members += [
            *labels,
            _Member(name=f"ref_pred_{name}", dtype=stored, row_axis=len(kind.axes), encoding=coding),
            _Member(name=f"ref_raw_{name}", dtype=np.dtype(np.float32), row_axis=1),
        ]
    return {member.name: member for member in members}


class _Spool:
    """A member being written: its images are one after the other in a file, until their number is known."""

    def __init__(self, member: _Member, folder: Path) -> None:
        self.member = member
        self.path = folder / member.name
        self.count = 0
        self.layout: tuple[np.dtype[np.generic], tuple[int, ...]] | None = None
        self._stream = self.path.open("wb")

    def add(self, pixels: Array, identifier: str) -> None:
        """Append one image's array; every one has the first one's shape."""
        if pixels.dtype != self.member.dtype:
            raise _unfit(self.member.name, identifier, str(self.member.dtype), str(pixels.dtype))
        stored = encode(pixels, self.member.encoding, self.member.row_axis)
        if self.layout not in (None, (stored.dtype, stored.shape)):
            raise _unfit(self.member.name, identifier, str(self.layout), str((stored.dtype, stored.shape)))
        self.layout = (stored.dtype, stored.shape)
        self.count += 1
        self._stream.write(stored.tobytes())

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()

    def copy_to(self, stream: IO[bytes], dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        """Write the member as an .npy file, a little at a time; ``dtype`` and ``shape`` are ``layout``."""
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (self.count, *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        with self.path.open("rb") as source:
            shutil.copyfileobj(source, stream)


def _unfit(name: str, identifier: str, expected: str, got: str) -> DatasetError:
    return DatasetError(
        f"{name} of image {identifier!r} does not fit the others",
        expected=expected,
        got=got,
        where="vectors.npz",
        fix="evaluation images have one size; raw outputs are float32",
    )


def write_vectors(
    path: Path,
    images: Iterable[Evaluated],
    *,
    tasks: Mapping[str, int],
    spec: DatasetSpec,
    unlabelled: Collection[str] = (),
) -> int:
    """Write ``vectors.npz`` from images and the reference's raw outputs; return the number of images.

    ``tasks`` maps each task to its raw output channels; the ``unlabelled`` among them have no labels. Predictions and
    metric arrays are computed here.

    Raises:
        DatasetError: there is no image, an id occurs twice, or an image or label does not fit.
        CheckpointError: the reference gives NaN or infinity.
    """
    ids: list[str] = []
    roles: list[str] = []
    metrics: dict[str, list[Floats]] = {}
    with TemporaryDirectory(prefix=".vectors.", dir=path.parent) as folder:
        spools = {name: _Spool(member, Path(folder)) for name, member in _members(tasks, unlabelled).items()}
        try:
            for evaluated in images:
                ids.append(evaluated.id)
                roles.append(evaluated.role)
                _add(evaluated, tasks, spec, spools, metrics, full=len(ids) <= FULL)
        finally:
            for spool in spools.values():
                spool.close()
        if not ids:
            raise DatasetError(
                "there is no evaluation image",
                expected="at least 1",
                got="0",
                where=str(path),
                fix="add ids to the split",
            )
        check_ids(tuple(ids), where=str(path))
        small: dict[str, Array] = {"ids": np.array(ids), "roles": np.array(roles), "tasks": np.array(list(tasks))}
        small |= {"unlabelled": np.array(list(unlabelled))} if unlabelled else {}
        small |= {name: np.stack(arrays) for name, arrays in metrics.items()}
        temporary = Path(folder) / path.name
        _pack(temporary, small, spools)
        temporary.replace(path)
    return len(ids)


def _add(
    evaluated: Evaluated,
    tasks: Mapping[str, int],
    spec: DatasetSpec,
    spools: Mapping[str, _Spool],
    metrics: dict[str, list[Floats]],
    *,
    full: bool,
) -> None:
    name = evaluated.id
    spools["images"].add(check_image(evaluated.image, where=f"image {name!r}"), name)
    for key, channels in tasks.items():
        row, raw = task(key), evaluated.outputs[key]
        if not np.isfinite(raw).all():
            raise CheckpointError(
                f"the reference's {key} output is not finite",
                expected="finite float32",
                got="NaN or infinity",
                where=f"image {name!r}",
                fix="the checkpoint itself overflows: train it again, or give a sound one",
            )
        prediction = predict(row, raw)
        if f"label_{key}" in spools:
            label = evaluated.labels[key]
            check_encoded(key, label, spec, where=f"label {key} of image {name!r}")
            truth = decode_label(key, label, spec)
            for figure in row.figures(channels):
                metrics.setdefault(_metric_name(key, figure), []).append(figure.per_image(prediction, truth))
            spools[f"label_{key}"].add(label, name)
        spools[f"ref_pred_{key}"].add(row.kind.compact(kept(row.kind, prediction)), name)
        if full:
            spools[f"ref_raw_{key}"].add(kept_output(raw), name)


def _metric_name(key: str, figure: Metric) -> str:
    return f"ref_metric_{key}" if figure.name == task(key).metric else f"ref_metric_{key}.{figure.name}"


def _pack(path: Path, small: Mapping[str, Array], spools: Mapping[str, _Spool]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in small.items():
            with archive.open(new_entry(f"{name}.npy"), "w") as stream:
                np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
        for name, spool in spools.items():
            if spool.layout is not None:
                with archive.open(new_entry(f"{name}.npy"), "w", force_zip64=True) as stream:
                    spool.copy_to(stream, *spool.layout)


def _check_sizes(stored: EvaluationSample) -> None:
    """Raise ValueError if a label, a prediction or an output does not have the size that its image asks for."""
    image = stored.image
    for name, prediction in stored.predictions.items():
        kind, flat = task(name).kind, image.reshape(*image.shape[:2], -1)[..., 0]
        sizes = (stored.labels.get(name, flat).shape[:2], prediction.shape[-2:])
        raw = stored.outputs.get(name, kept_output(flat)).shape[-2:]
        if (*sizes, raw) != (flat.shape, kept(kind, flat).shape, kept_output(flat).shape):
            raise ValueError(f"{name} of image {stored.id!r} has another size than the image")


class _Reader:
    """A member being read, one image after the other."""

    def __init__(self, archive: zipfile.ZipFile, member: _Member) -> None:
        self.member = member
        self._stream: IO[bytes] = archive.open(f"{member.name}.npy")
        header = read_header(self._stream)
        (self.count, *shape), self._dtype = header.shape, header.dtype
        self._shape = tuple(shape)
        if header.nbytes > self.count * LIMITS["array_bytes"].most:
            raise ValueError(f"an image of {member.name}.npy has more than {LIMITS['array_bytes'].most} bytes")

    def next(self) -> Array:
        """Return the next image's array, in the dtype it has outside."""
        size = math.prod(self._shape) * self._dtype.itemsize
        buffer = self._stream.read(size)
        if len(buffer) != size:
            raise ValueError(f"{self.member.name}.npy ends early")
        stored = np.frombuffer(buffer, self._dtype).reshape(self._shape)
        return decode(stored, self.member.dtype, self.member.encoding, self.member.row_axis)


class Vectors:
    """An open ``vectors.npz``; use it in a ``with`` block. ``ids``, ``roles`` and ``tasks`` are in the order of the build."""

    def __init__(self, source: Path | bytes) -> None:
        """Open the file at a path, or its bytes.

        Raises:
            ArtifactError: it is missing or is no vectors.npz.
        """
        self._where = str(source) if isinstance(source, Path) else "the bundle's vectors.npz"
        try:
            self._archive = zipfile.ZipFile(source if isinstance(source, Path) else io.BytesIO(source))
            self.ids = read_names(self._archive, "ids")
            self.roles = read_names(self._archive, "roles")
            self.tasks = read_names(self._archive, "tasks")
            there = "unlabelled.npy" in self._archive.namelist()
            self.unlabelled = read_names(self._archive, "unlabelled") if there else ()
            if not len(self.ids) == len(self.roles) == len(set(self.ids)):
                raise ValueError(
                    f"{len(self.ids)} ids, {len(set(self.ids))} of them different, and {len(self.roles)} roles"
                )
        except (OSError, KeyError, *UNREADABLE) as error:
            raise self._unreadable(error) from error

    def __enter__(self) -> "Vectors":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def metric(self, name: str) -> Floats:
        """Return the reference's per-image metric arrays of a task, float64 ``[N, …]``.

        Raises:
            ArtifactError: the file holds none for this task.
        """
        try:
            array = read_member(self._archive, f"ref_metric_{name}").astype(np.float64, copy=False)
            if array.shape[:1] != (len(self.ids),):
                raise ValueError(f"ref_metric_{name} is {list(array.shape)}, and there are {len(self.ids)} images")
            return array
        except (KeyError, *UNREADABLE) as error:
            raise self._unreadable(error) from error

    def figure(self, name: str, figure: Metric) -> Floats | None:
        """Return the reference's per-image arrays of one figure of a task, None if the file was written without it.

        Raises:
            ArtifactError: they cannot be read.
        """
        member = _metric_name(name, figure)
        if f"{member}.npy" not in self._archive.namelist():
            return None
        try:
            return read_rows(self._archive, member, (len(self.ids), *figure.shape))
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def gated(self, row: Task, channels: int) -> Floats:
        """Return the reference's per-image arrays of the figure that gates a task, float64 ``[N, …]``.

        By agreement it is compared with itself, so each image is read.

        Raises:
            ArtifactError: the file holds none for this task, or cannot be read.
        """
        if not row.agreement:
            return self.metric(row.name)
        own, metric = (stored.predictions[row.name] for stored in self.images()), row.judge(channels)
        return np.stack([metric.per_image(prediction, prediction) for prediction in own])

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which images count for the metrics, bool ``[N]``; the others only show how alike the answers are."""
        return np.array([role == "random" for role in self.roles])

    def images(self) -> Iterator[EvaluationSample]:
        """Yield the images in order, each read and restored when it is asked for.

        Raises:
            ArtifactError: an array is missing or ends early.
        """
        try:
            readers = {
                name: _Reader(self._archive, member) for name, member in _members(self.tasks, self.unlabelled).items()
            }
            for index, identifier in enumerate(self.ids):
                yield self._stored(identifier, {name: r.next() for name, r in readers.items() if index < r.count})
        except (KeyError, *UNREADABLE) as error:
            raise self._unreadable(error) from error

    def _stored(self, identifier: str, arrays: Mapping[str, Array]) -> EvaluationSample:
        stored = EvaluationSample(
            id=identifier,
            image=arrays["images"].astype(np.uint8, copy=False),
            labels={name: arrays[f"label_{name}"] for name in self.tasks if name not in self.unlabelled},
            predictions={name: task(name).kind.expand(arrays[f"ref_pred_{name}"]) for name in self.tasks},
            outputs={name: arrays[f"ref_raw_{name}"] for name in self.tasks if f"ref_raw_{name}" in arrays},
        )
        _check_sizes(stored)
        return stored

    def _unreadable(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            "vectors.npz cannot be read",
            expected="the arrays of bundle/formats/vectors.py",
            got=faults(error),
            where=self._where,
            fix="copy the bundle again, or build it again",
        )
