"""The program that docs/device.md shows runs as it stands there, on a bundle of each target that this machine can open."""

import re
from pathlib import Path

import numpy as np
import pytest

from bundle.postprocess import predict
from bundle.tasks import task
from tests.bundle.made import PREPROCESS, TASKS, image, model
from tests.bundle.made_onnx import make

PAGE = Path(__file__).resolve().parents[2] / "docs" / "device.md"


@pytest.mark.parametrize(("name", "execute"), [("intel", "device"), ("jetson", "emulation")])
def test_the_program_of_the_page_gives_the_models_answers(tmp_path: Path, name: str, execute: str) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert '"DIR"' in program and 'execute="device"' in program
    folder = make(tmp_path / name, name)
    program = program.replace('"DIR"', repr(str(folder))).replace('execute="device"', f'execute="{execute}"')
    frame = image(0)
    found: dict[str, object] = {"frame": frame}
    exec(compile(program, str(PAGE), "exec"), found)
    expected, raw = model(PREPROCESS.apply(frame)), found["raw"]
    assert isinstance(raw, dict) and set(raw) == set(TASKS)
    for one in TASKS:
        np.testing.assert_allclose(predict(task(one), raw[one][0]), predict(task(one), expected[one][0]), atol=1e-3)
