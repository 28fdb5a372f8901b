"""``vectors.npz``: the evaluation images of a bundle, their labels, and what the reference made of them.

    ids, roles, tasks      unicode [N], [N], [T]; a role is what an image is used for, see ``Role``
    unlabelled             unicode [U], the tasks without labels and without metric arrays; only where there are any
    images                 uint8 [N, H, W, 3]
    label_<task>           the encoded label (bundle/tasks/dataset.py): uint8 [N, H, W] or [N, H, W, 3], uint16 [N, H, W]
    own_sizes              int64 [N, 2], rows and columns of each image as it was given; with metrics at that size only
    own_label_<task>       the same label at that size, of all images in one row; with metrics at that size only
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
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.array_files import read_member, read_names, read_rows
from bundle.base.errors import ArtifactError, CheckpointError, DatasetError
from bundle.base.frozen import faults
from bundle.base.zip_entries import UNREADABLE, new_entry
from bundle.formats.delta_coding import Encoding
from bundle.formats.image_streams import Member, Reader, Spool
from bundle.formats.stored_maps import kept, kept_output, stretched
from bundle.tasks.dataset import check_encoded, check_ids, check_image
from bundle.tasks.fit import judged
from bundle.tasks.metrics import Floats, Metric
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import Task, task

Role: TypeAlias = Literal["random", "hard"]
"""``random``: drawn at random, counts for the metrics. ``hard``: chosen because it is hard, so it counts for none; how
alike the two models' answers are is seen on it too."""
FULL = 8  # images with raw outputs
OWN_SIZES = "own_sizes"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One image to store: uint8 ``[H, W, 3]``, its encoded labels, the reference's raw float32 ``[C, H, W]`` by task."""

    id: str
    image: NDArray[np.uint8]
    labels: Mapping[str, Array]
    outputs: Mapping[str, Array]
    role: Role = "random"
    own_labels: Mapping[str, Array] = field(default_factory=dict)
    """Where metrics are at the image's own size: the encoded labels of that size."""


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
    own_labels: Mapping[str, Array] = field(default_factory=dict)

    def judged(self, name: str) -> Array:
        """Return the encoded label of a task at the size of its metric."""
        return self.own_labels.get(name, self.labels[name])

    def shown(self, name: str) -> Array:
        """Return a kept prediction in the size of the image, for a picture: what was left out is interpolated."""
        height, width = self.image.shape[:2]
        prediction = self.predictions[name]
        if prediction.shape[-2:] == (height, width):
            return prediction
        return stretched(stretched(prediction, -2, height), -1, width)


def _members(tasks: Iterable[str], unlabelled: Collection[str], *, own: bool) -> dict[str, Member]:
    byte = np.dtype(np.uint8)
    members = [Member(name="images", dtype=byte, encoding="colour")]
    for name in tasks:
        kind = task(name).kind
        label, stored = np.dtype(kind.label_dtype), np.dtype(kind.stored)
        label_coding: Encoding = "plain" if label == byte else "difference"
        coding: Encoding = "plain" if kind.all_pixels else "difference"  # the differences of class numbers say nothing
        names = () if name in unlabelled else (f"label_{name}", f"own_label_{name}") if own else (f"label_{name}",)
        labels = [Member(name=one, dtype=label, encoding=label_coding, ragged=one != f"label_{name}") for one in names]
        members += [
            *labels,
            Member(name=f"ref_pred_{name}", dtype=stored, row_axis=len(kind.axes), encoding=coding),
            Member(name=f"ref_raw_{name}", dtype=np.dtype(np.float32), row_axis=1),
        ]
    return {member.name: member for member in members}


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
    own_sizes: list[tuple[int, ...]] = []
    members = _members(tasks, unlabelled, own=spec.metrics_at == "image")
    with TemporaryDirectory(prefix=".vectors.", dir=path.parent) as folder:
        spools = {name: Spool(member, Path(folder)) for name, member in members.items()}
        try:
            for evaluated in images:
                ids.append(evaluated.id)
                roles.append(evaluated.role)
                own_sizes += [label.shape[:2] for label in evaluated.own_labels.values()][:1]
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
        small |= {OWN_SIZES: np.array(own_sizes, np.int64)} if own_sizes else {}
        small |= {name: np.stack(arrays) for name, arrays in metrics.items()}
        temporary = Path(folder) / path.name
        _pack(temporary, small, spools)
        temporary.replace(path)
    return len(ids)


def _add(
    evaluated: Evaluated,
    tasks: Mapping[str, int],
    spec: DatasetSpec,
    spools: Mapping[str, Spool],
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
            own = evaluated.own_labels[key] if spec.metrics_at == "image" else None
            pair = judged(row, prediction, label if own is None else own, spec)
            for figure in row.figures(channels):
                metrics.setdefault(_metric_name(key, figure), []).append(figure.per_image(*pair))
            spools[f"label_{key}"].add(label, name)
            if own is not None:
                spools[f"own_label_{key}"].add(own, name)
        spools[f"ref_pred_{key}"].add(row.kind.compact(kept(row.kind, prediction)), name)
        if full:
            spools[f"ref_raw_{key}"].add(kept_output(raw), name)


def _metric_name(key: str, figure: Metric) -> str:
    return f"ref_metric_{key}" if figure.name == task(key).metric else f"ref_metric_{key}.{figure.name}"


def _pack(path: Path, small: Mapping[str, Array], spools: Mapping[str, Spool]) -> None:
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
            sizes = self._own_sizes()
            members = _members(self.tasks, self.unlabelled, own=bool(sizes))
            readers = {name: Reader(self._archive, member) for name, member in members.items()}
            for index, identifier in enumerate(self.ids):
                whole = {n: r.next() for n, r in readers.items() if index < r.count and not r.member.ragged}
                own = {
                    name: readers[f"own_label_{name}"].next((*sizes[index], *task(name).kind.label_axes))
                    for name in self.tasks
                    if f"own_label_{name}" in readers
                }
                yield self._stored(identifier, whole, own)
        except (KeyError, *UNREADABLE) as error:
            raise self._unreadable(error) from error

    def _own_sizes(self) -> list[tuple[int, int]]:
        """Return each image's own rows and columns; none where metrics are at the model's size."""
        if f"{OWN_SIZES}.npy" not in self._archive.namelist():
            return []
        sizes = read_member(self._archive, OWN_SIZES)
        if sizes.shape != (len(self.ids), 2) or sizes.dtype != np.int64 or sizes.min(initial=1) < 1:
            raise ValueError(f"{OWN_SIZES} is {sizes.dtype} {list(sizes.shape)}, and there are {len(self.ids)} images")
        return [(int(height), int(width)) for height, width in sizes]

    def _stored(
        self, identifier: str, arrays: Mapping[str, Array], own_labels: Mapping[str, Array]
    ) -> EvaluationSample:
        stored = EvaluationSample(
            id=identifier,
            image=arrays["images"].astype(np.uint8, copy=False),
            labels={name: arrays[f"label_{name}"] for name in self.tasks if name not in self.unlabelled},
            predictions={name: task(name).kind.expand(arrays[f"ref_pred_{name}"]) for name in self.tasks},
            outputs={name: arrays[f"ref_raw_{name}"] for name in self.tasks if f"ref_raw_{name}" in arrays},
            own_labels=own_labels,
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
