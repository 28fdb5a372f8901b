"""The runtime file of this checkout, and how a test starts it: in an empty folder, with nothing of the checkout in reach."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from bundle.transport.archive import pack
from device_runtime.write import RUNTIME
from tests.bundle.made_onnx import make

# Refuses packages as if they were not installed; the words behind it are the command line.
WITHOUT = """
import runpy, sys
refused = set(sys.argv.pop(1).split(","))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
HOST = "torch,onnx,onnx_ir,typer,rich,click,PIL,safetensors,scipy,nncf,jinja2,matplotlib"


def carry(runtime: Path, folder: Path, target: str, noise: float = 0.0) -> Path:
    """Return a new folder that holds the two files a device gets, NAME.zip called after its target."""
    there = folder / "device"
    there.mkdir()
    shutil.copy(runtime, there)
    pack(make(folder / "made", target, noise), there / f"{target}.zip")
    return there


def start(
    there: Path, *words: str, without: str = HOST, python: str = sys.executable, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the runtime file of a folder there, ``without`` packages; this checkout is not on the path."""
    refusing = ["-c", WITHOUT, without] if without else []
    command = [python, *refusing, RUNTIME, *words]
    env = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=there, env=env, capture_output=True, text=True, check=False)


def altered(archive: Path, name: str) -> None:
    """Change a byte of one file of an archive, and keep the archive a sound zip file."""
    with zipfile.ZipFile(archive) as source:
        files = {entry: source.read(entry) for entry in source.namelist()}
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    with zipfile.ZipFile(archive, "w") as sink:
        for entry in files:
            sink.writestr(entry, bytes(content) if entry == name else files[entry])
