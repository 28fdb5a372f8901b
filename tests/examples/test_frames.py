"""The programs to copy: twenty lines of Python, and two of C++, compiled where the headers are."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.judging.frames import feed
from targets.base import RunConfig
from targets.open import open_session
from tests.bundle.made import PREPROCESS, TASKS, image, model
from tests.bundle.made_onnx import make
from tests.compile import made
from tests.serving.conftest import runnable

ROOT = Path(__file__).resolve().parents[2]
CPP = ROOT / "examples" / "cpp"
COMPILER = shutil.which("c++")
TENSORRT = next(
    (
        Path(place)
        for place in ("/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu")
        if (Path(place) / "NvInfer.h").is_file()
    ),
    None,
)


def test_the_guide_shows_the_program_as_it_is() -> None:
    page = (ROOT / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")
    program = (ROOT / "examples" / "frames.py").read_text(encoding="utf-8")
    [shown] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown == program.partition("\n\n")[2] and len(shown.splitlines()) <= 20


def test_each_task_of_each_frame_is_printed(tmp_path: Path) -> None:
    for index in range(2):
        Image.fromarray(image(index)).save(tmp_path / f"{index}.png")
    bundle = make(tmp_path / "bundle", "onnxruntime")
    words = [sys.executable, "-m", "examples.frames", str(bundle), str(tmp_path / "0.png"), str(tmp_path / "1.png")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[f"{index}.png", name] for index in range(2) for name in TASKS]
    depth = np.maximum(model(PREPROCESS.apply(image(1)))["depth"], 0).mean()
    assert float(next(line for line in lines if line.startswith("1.png depth")).split()[-1]) == pytest.approx(
        depth, abs=1e-3
    )


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
def test_the_cpp_program_answers_as_the_session(tmp_path: Path) -> None:
    bundle = runnable(tmp_path, "edge", "intel")
    found = importlib.util.find_spec("openvino")
    assert found is not None and found.origin is not None
    wheel = Path(found.origin).parent
    [library] = (wheel / "libs").glob("libopenvino.so.*")
    binary = tmp_path / "openvino_maps"
    words = [
        str(COMPILER),
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-isystem{wheel / 'include'}",
        str(CPP / "openvino_maps.cpp"),
    ]
    words += ["-o", str(binary), str(library), f"-Wl,-rpath,{wheel / 'libs'}", f"-Wl,-rpath-link,{wheel / 'libs'}"]
    subprocess.run(words, check=True)
    frame = made.image(4)
    (tmp_path / "frame.rgb").write_bytes(frame.tobytes())
    (tmp_path / "maps").mkdir()
    graph = bundle.folder / bundle.manifest.variants[0].files[0]
    subprocess.run([str(binary), str(graph), "f32", str(tmp_path / "frame.rgb"), str(tmp_path / "maps")], check=True)
    session, _ = open_session(bundle, execute="device", variant="", run=RunConfig())
    with session:
        for name, wanted in session.infer(feed(bundle.manifest, frame)).items():
            got = np.frombuffer((tmp_path / "maps" / f"{name}.raw").read_bytes(), wanted.dtype).reshape(wanted.shape)
            np.testing.assert_array_equal(got, wanted)
    wrong = subprocess.run(
        [str(binary), str(graph), "f32", str(CPP / "openvino_maps.cpp"), "."], capture_output=True, check=False
    )
    assert wrong.returncode == 1 and b"expected a frame of" in wrong.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    COMPILER is None or TENSORRT is None, reason="no C++ compiler, or no TensorRT headers, here: not compiled"
)
def test_the_tensorrt_program_compiles(tmp_path: Path) -> None:
    words = [str(COMPILER), "-std=c++17", "-Wall", f"-isystem{TENSORRT}", "-isystem/usr/local/cuda/include", "-c"]
    subprocess.run([*words, str(CPP / "tensorrt_maps.cpp"), "-o", str(tmp_path / "program.o")], check=True)
