"""Arrays as PNG files, with the standard library alone: a device may have no Pillow."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

RGB, GREY = 2, 0  # colour types of the PNG specification
UP = 2  # its filter that stores a row less the one above


def png(picture: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return uint8 RGB ``[H, W, 3]`` or uint16 grey ``[H, W]`` as a PNG file, without loss."""
    height, width = picture.shape[:2]
    kind, bits = (RGB, 8) if picture.ndim == 3 else (GREY, 16)
    rows = np.ascontiguousarray(picture.astype(f">u{bits // 8}")).reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), UP, np.uint8)
    filtered[0, 1:], filtered[1:, 1:] = rows[0], rows[1:] - rows[:-1]  # modulo 256, as the filter has it
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(filtered.tobytes())) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
