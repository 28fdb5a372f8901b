"""Videos through PyAV, which this module alone imports: a file, a pipe, a stream or a device in, a file out.

Times in an output are those of the frames, in milliseconds. So a source whose frames come at any intervals plays as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, cast

import numpy as np

from bundle.base.errors import InputError, not_installed
from bundle.base.limits import LIMITS
from bundle.tasks.dataset import Image
from bundle.tasks.kinds.colours import Rgb
from predict.frame import Frame, since_ms

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

TIMEOUT_S = (20.0, 10.0)  # to open a source, and to read from it
MILLISECOND = Fraction(1, 1000)
RATE = 25  # frames a second, where none are known
BITS = 10  # a second and pixel
LOST_S, LOST_SHARE = 0.1, 0.01
"""A file that lacks more than both, in seconds and of its declared length, was cut off."""


def import_av(where: str) -> ModuleType:
    """Import PyAV; ``where`` names the source.

    Raises:
        TargetUnavailable: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise not_installed("a video", "av", extra="video", where=where, error=error) from error
    module: ModuleType = av
    return module


@contextmanager
def opened_video(name: str, form: str, *, live: bool) -> "Iterator[Iterator[Frame]]":
    """Yield the frames of a video, upright, which are called by their numbers; ``form`` "": PyAV finds the format.

    Of a ``live`` source a damaged packet is passed over. Else it is an error, and so is a file that ends too early.

    Raises:
        InputError: it cannot be opened or has no video; while it is read: it is damaged, ends early, or a frame is too large.
        TargetUnavailable: PyAV is not installed.
    """
    av = import_av(name)
    try:
        options = {} if live else {"err_detect": "explode"}
        container = av.open(name, format=form or None, options=options, timeout=TIMEOUT_S)
    except (av.error.FFmpegError, ValueError) as error:
        raise _unreadable(name, error) from error
    with container:
        if not container.streams.video:
            raise _refused("the source has no video", "a picture in it", "none", name, "name another file or stream")
        yield _frames(container, name, av, live=live)


def _frames(container: "InputContainer", name: str, av: ModuleType, *, live: bool) -> Iterator[Frame]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    first = last = 0.0
    start, count = perf_counter(), 0
    for decoded in _decoded(container, stream, name, av, live=live):
        _check_size(decoded.width, decoded.height, name)
        pixels = np.rot90(decoded.to_ndarray(format="rgb24"), decoded.rotation // 90).astype(np.uint8, order="C")
        last = count / RATE if decoded.pts is None else float(decoded.time)
        first = last if count == 0 else first
        yield Frame(f"{count:06d}", f"{name}, frame {count}", pixels, last - first, since_ms(start), perf_counter())
        count, start = count + 1, perf_counter()
    if count == 0:
        raise _refused("the source has no frame", "at least one", "none", name, "record or send it again")
    if not live:
        _require_whole(container, stream, last - first, count, name)


def _decoded(
    container: "InputContainer", stream: "VideoStream", name: str, av: ModuleType, *, live: bool
) -> "Iterator[VideoFrame]":
    """Yield the decoded frames of a stream, those that the decoder still holds at the end too."""
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt and not live:
                raise _refused("the video is damaged", "whole packets", "one that is not", name, FIX)
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                if not live:
                    raise
    except av.error.FFmpegError as error:
        raise _unreadable(name, error) from error


FIX = "copy or record it again; --write arrays keeps each frame that was read before"


def _require_whole(container: "InputContainer", stream: "VideoStream", seen_s: float, count: int, name: str) -> None:
    """Refuse a video that ended well before the time that its container declares."""
    declared = 0.0
    if stream.duration is not None and stream.time_base is not None:
        declared = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        declared = container.duration / 1e6
    missing = declared - seen_s - seen_s / max(count - 1, 1)  # the last frame is shown as long as the others
    if missing > max(LOST_S, LOST_SHARE * declared):
        raise _refused(
            "the video ends in the middle", f"{declared:.2f} s", f"{count} frames, {seen_s:.2f} s", name, FIX
        )


def _check_size(width: int, height: int, name: str) -> None:
    if max(width, height) > LIMITS["image_side"].most or width * height > LIMITS["image_pixels"].most:
        expected = f"at most {LIMITS['image_pixels'].most} pixels"
        raise _refused("a frame is too large", expected, f"{width} × {height}", name, "scale the video down")


class VideoWriter:
    """One video file, MP4, whatever the name's suffix is; the first picture decides its size."""

    def __init__(self, path: Path, codec: str) -> None:
        self._path, self._codec, self._av = path, codec, import_av(path.name)
        self._container: OutputContainer = self._av.open(str(path), "w", format="mp4")
        self._stream: VideoStream | None = None
        self._last = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def add(self, picture: Rgb, time_s: float) -> None:
        """Append a picture, uint8 ``[H, W, 3]``, shown at ``time_s``; a row or column is repeated to make a size even.

        Raises:
            InputError: PyAV has no such encoder, or it refuses the picture; the picture has another size than the first.
        """
        even = np.pad(picture, [(0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0)], mode="edge")
        try:
            self._stream = self._stream or self._opened(even)
            size = (self._stream.height, self._stream.width)
            if even.shape[:2] != size:
                fix = "predict the parts of one size each on their own"
                raise _refused("the frames change their size", str(size), str(even.shape[:2]), self._path.name, fix)
            frame = self._av.VideoFrame.from_ndarray(even, format="rgb24")
            self._last = max(self._last + 1, round(time_s * 1000))
            frame.pts, frame.time_base = self._last, MILLISECOND
            self._container.mux(self._stream.encode(frame))
        except (self._av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            fix = "name another encoder with --codec; mpeg4 is in every wheel of PyAV"
            raise _refused("the video cannot be encoded", self._codec, str(error), "--codec", fix) from error

    def _opened(self, picture: Image) -> "VideoStream":
        stream = cast("VideoStream", self._container.add_stream(self._codec, rate=RATE))
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = BITS * picture.shape[0] * picture.shape[1]
        stream.codec_context.time_base = MILLISECOND
        return stream


def _unreadable(name: str, error: Exception) -> InputError:
    silent = type(error).__name__ == "ExitError"  # PyAV's word for its timeout
    reason = f"nothing came for {TIMEOUT_S[1]:g} s" if silent else getattr(error, "strerror", None) or str(error)
    return _refused("the video cannot be read", "an image, or what PyAV opens", reason, name, FIX)


def _refused(message: str, expected: str, got: str, where: str, fix: str) -> InputError:
    return InputError(message, expected=expected, got=got, where=where, fix=fix)
