"""Where frames come from: images of a file, a folder or a pattern, a video file, or a live stream or device."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from os.path import commonpath
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from bundle.base.errors import InputError
from bundle.tasks.dataset import IMAGE_SUFFIXES, read_image
from predict.frame import Frame, since_ms
from predict.newest import newest
from predict.options import Policy
from predict.video import opened_video

PIPE = "-"


class Source(NamedTuple):
    """Frames, and what they are: of a video (``moving``), the newest only (``live``). ``dropped`` counts those passed over."""

    frames: Iterator[Frame]
    moving: bool
    live: bool


def files_of(source: str) -> tuple[Path, ...]:
    """Return the files and folders that a source names on this machine, which no output may be written over."""
    if Path(source).exists():
        return (Path(source),)
    return tuple(Path(name) for name in glob(source, recursive=True))


@contextmanager
def opened(source: str, form: str, policy: Policy) -> Iterator[Source]:
    """Yield a source that was opened: ``form`` is PyAV's name of a video's format, "" where it is to be found.

    Raises:
        InputError: there is no such file, no image in a folder or behind a pattern, or a video that cannot be opened.
        DatasetError: while it is read: an image cannot be read.
        TargetUnavailable: PyAV or Pillow is not installed and needed.
    """
    paths = () if form else _images(source)
    if paths:
        yield Source(_read(paths), moving=False, live=False)
        return
    path = Path(source)
    if not (form or source == PIPE or "://" in source or (source and path.exists())):
        raise _nothing("there is no such source", "a file, a folder, a pattern, a URL or - for a pipe", source)
    live = policy == "newest" or (policy == "auto" and ("://" in source or path.is_char_device()))
    name = f"pipe:{sys.stdin.fileno()}" if source == PIPE else source
    with opened_video(name, form, live=live) as frames:
        if not live:
            yield Source(frames, moving=True, live=False)
            return
        with newest(frames) as latest:
            yield Source(latest, moving=True, live=True)


def _images(source: str) -> tuple[Path, ...]:
    """Return the image files that a source names; () if it is no name of images."""
    path = Path(source)
    if source and path.is_dir():
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES and one.is_file())
        if not found:
            raise _nothing("the folder has no images", f"files called *{', *'.join(IMAGE_SUFFIXES)}", source)
        return tuple(found)
    if path.exists() or "://" in source or not has_magic(source):
        return (path,) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() else ()
    matched = tuple(sorted(Path(name) for name in glob(source, recursive=True)))
    if not matched:
        raise _nothing("nothing matches the pattern", "the names of images", source)
    for one in matched:
        if one.suffix.lower() not in IMAGE_SUFFIXES:
            raise _nothing("the pattern matches something that is no image", "images only", str(one))
    return matched


def _read(paths: tuple[Path, ...]) -> Iterator[Frame]:
    """Yield images that are turned as their Exif orientation asks for; a name is that below the folder all are in."""
    whole = [path.resolve() for path in paths]
    root = Path(commonpath([path.parent for path in whole]))
    names = [path.relative_to(root) for path in whole]
    short = [name.with_suffix("").as_posix() for name in names]
    if len(set(short)) < len(short):
        short = [name.as_posix() for name in names]
    for path, name in zip(paths, short, strict=True):
        start = perf_counter()
        image = read_image(path, as_shown=True)
        yield Frame(name, str(path), image, 0.0, since_ms(start), perf_counter())


def _nothing(message: str, expected: str, source: str) -> InputError:
    fix = "correct the name, or copy the files there"
    return InputError(message, expected=expected, got="none" if has_magic(source) else source, where=source, fix=fix)
