"""Triton: a repository for the backend ``openvino``, and one for the backend ``python`` over this project's own session."""

from bundle.base.strict_json import dumps
from bundle.formats.artifacts import TensorSpec
from bundle.formats.contents import HASHED, MANIFEST
from bundle.formats.hash_files import with_hashes
from device_runtime.write import RUNTIME, content, require_checkout
from serving.offer import IR, Offer, Written

TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8", "int32": "TYPE_INT32"}
SESSION = '''\
"""A bundle in Triton's python backend: the session that judged it answers. It needs NumPy below 2 in this interpreter."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # the backend's interpreter does not read it
sys.path[:0] = [str(HERE / "{runtime}"), *filter(None, given)]

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        if int(np.__version__.split(".")[0]) > 1:  # its outputs would arrive with 0 bytes
            raise pb_utils.TritonModelException(f"NumPy below 2 is needed, and this is {{np.__version__}}")
        from bundle.formats.manifest import load_bundle
        from targets.base import RunConfig
        from targets.open import open_session

        bundle = load_bundle(HERE / "bundle")
        self.session, _ = open_session(bundle, execute="auto", variant={variant!r}, run=RunConfig(device={device!r}))

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        outputs = self.session.infer({{"image": image}})
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

    def finalize(self):
        self.session.close()
'''


def write_triton(one: Offer) -> Written:
    """Return a model repository for each backend that can run the bundle.

    Raises:
        InputError: this is no checkout, which alone can make the device runtime.
    """
    require_checkout()
    name = one.manifest.name
    files: dict[str, bytes | str] = {f"python/{path}": held for path, held in _python(one).items()}
    runs = f"python: as judged, {one.judged}, by the session that judged it"
    notes = [
        "start one: tritonserver --model-repository=DIR/python, or DIR/openvino",
        "python: PYTHONPATH names a folder with NumPy below 2, pydantic and the target's runtime, of the backend's Python version",
    ]
    if one.graph.endswith(IR):
        files |= {f"openvino/{name}/{path}": held for path, held in _openvino(one).items()}
        runs += f"; openvino: {_pinned(one.hint)}"
    else:
        notes.append("openvino: left out, for the bundle holds no IR")
    return Written(files=files, runs=runs, notes=tuple(notes))


def _pinned(hint: str) -> str:
    """Say what the backend openvino will compute in; it has HINT_BF16 and no way to ask for another type."""
    if hint == "bf16":
        return "bf16, pinned with HINT_BF16"
    return f"the plugin's own choice, for the backend cannot pin {hint}: bf16 on a CPU that has it, which is not what was judged"


def _openvino(one: Offer) -> dict[str, bytes | str]:
    hints = {"PERFORMANCE_HINT": "LATENCY", "TARGET_DEVICE": one.device}
    hints |= {"HINT_BF16": "YES"} if one.hint == "bf16" else {}
    return {"config.pbtxt": config(one, "openvino", hints), **one.graph_files("1/model")}


def _python(one: Offer) -> dict[str, bytes | str]:
    bundle, folder = one.bundle, f"{one.manifest.name}/1"
    session = SESSION.format(
        runtime=RUNTIME, variant=one.variant.name, device=one.device if one.graph.endswith(IR) else ""
    )
    held = {name: bundle.read(name) for name in bundle.manifest.files}
    later = {name: (bundle.folder / name) for name in with_hashes(MANIFEST, *HASHED)}
    held |= {name: path.read_bytes() for name, path in later.items() if path.is_file()}
    files: dict[str, bytes | str] = {
        f"{one.manifest.name}/config.pbtxt": config(one, "python", {}),
        f"{folder}/model.py": session,
        f"{folder}/{RUNTIME}": content(),
    }
    return files | {f"{folder}/bundle/{name}": data for name, data in held.items()}


def config(one: Offer, backend: str, parameters: dict[str, str]) -> str:
    """Return ``config.pbtxt``: the text form of Triton's ModelConfig, batch 1 without batching."""
    blocks = [f'name: "{one.manifest.name}"', f'backend: "{backend}"', "max_batch_size: 0"]
    blocks += [_tensors("input", one.manifest.inputs), _tensors("output", one.manifest.outputs)]
    blocks += ["instance_group [ { kind: KIND_CPU count: 1 } ]"]
    blocks += [
        f"parameters {{ key: {dumps(key)} value {{ string_value: {dumps(value)} }} }}"
        for key, value in parameters.items()
    ]
    return "\n".join(blocks) + "\n"


def _tensors(field: str, specs: tuple[TensorSpec, ...]) -> str:
    rows = [f'  {{ name: "{one.name}" data_type: {TYPES[one.dtype]} dims: {list(one.shape)} }}' for one in specs]
    return f"{field} [\n" + ",\n".join(rows) + "\n]"
