"""What is written of each frame: pictures of still images as PNG files, of a video as videos, and arrays as files.

    maps/TASK/NAME.png       a task's colours              maps/TASK.mp4
    overlays/TASK/NAME.png   its colours over the image    overlays/TASK.mp4
    sheets/NAME.png          the image and all maps        sheet.mp4
    arrays/NAME.npz          each task's map, as numbers
    millimetres/TASK/NAME.png    distances, 16 bits, 0 = invalid

Every file gets its name when it is complete. A run that is killed leaves the finished ones, and at most hidden temporary files.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen
from bundle.base.png import png
from bundle.formats.artifacts import writing
from bundle.formats.manifest import Manifest
from bundle.tasks.kinds.colours import Inks, Rgb
from bundle.tasks.spec import Array
from predict.drawing import overlay, sheet
from predict.frame import Frame
from predict.options import Written
from predict.video import VideoWriter

Maps: TypeAlias = Mapping[str, Array]


class Wanted(Frozen):
    """What to write, of which tasks. ``moving``: the source is a video."""

    tasks: tuple[str, ...]
    kinds: tuple[Written, ...]
    alpha: float
    codec: str
    moving: bool


def millimetres(metres: Array) -> NDArray[np.uint16]:
    """Return metres ``[H, W]`` as whole millimetres, cut at 65.535 m; 0 = invalid."""
    rounded = np.rint(metres.astype(np.float64) * 1000)
    return np.clip(rounded, 0, np.iinfo(np.uint16).max).astype(np.uint16)


class Outputs:
    """The folder that is written; videos are complete when the ``with`` block ends without an error."""

    def __init__(self, folder: Path, manifest: Manifest, wanted: Wanted) -> None:
        self._folder, self._manifest, self._wanted = folder, manifest, wanted
        self._inks: dict[str, Inks] = {}
        self._videos: dict[str, VideoWriter] = {}
        self._stack = ExitStack()
        self._require_distances()

    def __enter__(self) -> "Outputs":
        self._stack.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]  # three values or three None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose maps are written."""
        return self._wanted.tasks

    @property
    def videos(self) -> list[str]:
        """The names of the videos, below the folder; they are complete when the block has ended."""
        return [f"{name}.mp4" for name in self._videos]

    def draw(self, frame: Frame, maps: Maps) -> dict[str, Rgb]:
        """Return the pictures that are asked for, by the names of their files without suffix and frame."""
        colours = {name: self._coloured(name, values) for name, values in maps.items()} if self._draws() else {}
        pictures: dict[str, Rgb] = {}
        if "maps" in self._wanted.kinds:
            pictures |= {f"maps/{name}": picture for name, picture in colours.items()}
        if "overlays" in self._wanted.kinds:
            alpha = self._wanted.alpha
            pictures |= {f"overlays/{name}": overlay(frame.image, one, alpha) for name, one in colours.items()}
        if "sheets" in self._wanted.kinds:
            pictures["sheet" if self._wanted.moving else "sheets"] = sheet([frame.image, *colours.values()])
        return pictures

    def write(self, frame: Frame, maps: Maps, pictures: Mapping[str, Rgb]) -> list[str]:
        """Write a frame's pictures and arrays; return the names of the files that are complete, below the folder."""
        files = [*self._arrays(frame, maps)]
        for name, picture in pictures.items():
            if self._wanted.moving:
                self._video(name).add(picture, frame.time_s)
            else:
                files.append(self._file(f"{name}/{frame.name}.png", png(picture)))
        return files

    def _draws(self) -> bool:
        return not {"maps", "overlays", "sheets"}.isdisjoint(self._wanted.kinds)

    def _coloured(self, name: str, values: Array) -> Rgb:
        """Draw a map; in a video a colour keeps the meaning that it has in the first frame."""
        kind = self._manifest.row(name).kind
        inks = self._inks.get(name)
        if inks is None:
            inks = kind.inks(self._manifest.dataset.palettes.get(name, ()), values)
        if self._wanted.moving:
            self._inks[name] = inks
        return kind.draw(values, inks)

    def _arrays(self, frame: Frame, maps: Maps) -> Iterator[str]:
        if "arrays" in self._wanted.kinds:
            with writing(self._path(f"arrays/{frame.name}.npz")) as temporary, temporary.open("wb") as stream:
                np.savez_compressed(stream, **maps)  # type: ignore[arg-type]  # its stub takes one bool keyword
            yield f"arrays/{frame.name}.npz"
        if "millimetres" in self._wanted.kinds:
            for name in self._distances():
                yield self._file(f"millimetres/{name}/{frame.name}.png", png(millimetres(maps[name])))

    def _distances(self) -> list[str]:
        return [name for name in self._wanted.tasks if self._manifest.row(name).kind.in_metres]

    def _require_distances(self) -> None:
        if "millimetres" in self._wanted.kinds and not self._distances():
            raise InputError(
                "none of the tasks is a distance",
                expected="a task of depth, for --write millimetres",
                got=", ".join(self._wanted.tasks),
                where="--write",
                fix="leave millimetres out of --write, or name such a task in --tasks",
            )

    def _file(self, name: str, content: bytes) -> str:
        with writing(self._path(name)) as temporary:
            temporary.write_bytes(content)
        return name

    def _path(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _video(self, name: str) -> VideoWriter:
        if name not in self._videos:
            temporary = self._stack.enter_context(writing(self._path(f"{name}.mp4")))
            self._videos[name] = self._stack.enter_context(VideoWriter(temporary, self._wanted.codec))
        return self._videos[name]
