"""Arrays in files: what NumPy wrote is read, and a header that tells of more than there is is refused before memory is asked for."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bundle.base.array_files import read_header, read_member, read_names, read_npy, read_rows
from tests.architecture.source import ROOT


def header(shape: object, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def packed(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    return path


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.uint8, np.float16, "<U5"]), arrays.array_shapes(min_dims=0, min_side=0)
    )
)
def test_what_numpy_writes_is_read(array: np.ndarray) -> None:
    for order in ("C", "F"):
        stream = io.BytesIO()
        np.savez_compressed(stream, x=np.asarray(array, order=order))
        with zipfile.ZipFile(stream) as archive:
            again = read_member(archive, "x")
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header("(6710886400,)"), "53687091200 bytes, more than"),
        (header("(True, 3)") + b"123", "True, 3"),
        (header("(100,)"), "declares 800 bytes, and there are 0"),
        (header("(1,)") + bytes(9), "declares 8 bytes, and there are 9"),
        (header("(-1,)"), r"\[-1\]"),
        (header(f"({10**30},)"), "more than"),
        (header("(1,)", "|O") + bytes(8), "object"),
        (header("(" * 3000 + ")" * 3000), "header"),
        (header("'x'"), "header|shape"),
        (header("(1, "), "header"),
        (b"\x93NUMPY\x09\x00", "format"),
        (b"", "EOF|magic"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_npy(tmp_path / "x.npy")
    with zipfile.ZipFile(packed(tmp_path / "x.npz", content)) as archive, pytest.raises(ValueError, match=said):
        read_member(archive, "x")


def test_a_header_of_50_gb_asks_for_no_memory(tmp_path: Path) -> None:
    """In a process that may have 2 GiB: a reader that believed the header would fail with MemoryError."""
    packed(tmp_path / "x.npz", header("(6710886400,)"))
    program = (
        "import resource, sys, zipfile\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from bundle.base.array_files import read_member\n"
        "try:\n    read_member(zipfile.ZipFile(sys.argv[1]), 'x')\n"
        "except ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.npz")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "53687091200 bytes, more than" in done.stdout


def test_names_and_rows_have_their_type_and_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", names=np.array(["a", "b"]), rows=np.ones((2, 3)), one=np.array("a"))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert read_names(archive, "names") == ("a", "b")
        assert read_rows(archive, "rows", (2, 3)).sum() == 6
        for name in ("one", "rows"):
            with pytest.raises(ValueError, match="no list of names"):
                read_names(archive, name)
        for shape in ((3, 3), (2,)):
            with pytest.raises(ValueError, match=r"rows is float64 \[2, 3\], not"):
                read_rows(archive, "rows", shape)


def test_only_the_header_is_read() -> None:
    stream = io.BytesIO(header("(3, 4)") + b"rest")
    assert read_header(stream)[0] == (3, 4)
    assert stream.read() == b"rest"
