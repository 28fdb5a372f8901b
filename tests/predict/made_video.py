"""Videos whose every pixel is known: FFV1 of RGB is without loss."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bundle.tasks.spec import Array

av = pytest.importorskip("av", reason="the extra video is not installed")
MS = Fraction(1, 1000)


def write_video(
    path: Path,
    images: Sequence[Array],
    *,
    codec: str = "ffv1",
    form: str | None = None,
    step_ms: int = 40,
    **options: str,
) -> Path:
    """Write images, uint8 ``[H, W, 3]``, as a video of one frame each ``step_ms``."""
    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(1000, step_ms))
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.codec_context.gop_size = 1
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = index * step_ms, MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_video(path: Path) -> list[tuple[float, Array]]:
    """Every frame of a video: its time in seconds and its pixels, uint8 ``[H, W, 3]``."""
    with av.open(str(path)) as container:
        return [(float(frame.time), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def cut(path: Path, share: float) -> Path:
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
