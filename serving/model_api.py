"""OpenVINO Model API: the graph with ``model_info``, and the small class that loads it with the judged precision.

The keys are those of ``model_api.models.parameters``: in an IR ``rt_info/model_info``, in ONNX ``metadata_props``.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.formats.io_forms import FORMS
from bundle.tasks.spec import SizePolicy
from serving.offer import IR, Offer, Written

if TYPE_CHECKING:
    pass

TYPE = "MultiTaskDense"
RESIZES: dict[SizePolicy | None, str] = {
    None: "standard",
    "stretch": "standard",
    "letterbox": "fit_to_window_letterbox",
    "crop": "crop",
    "pad": "fit_to_window_letterbox",
}
LOADER = '''\
"""Load {graph} with Model API: its wrapper {type}, in the precision that was judged."""

from model_api.adapters import OpenvinoAdapter, create_core
from model_api.models import ImageModel
from model_api.models.parameters import ParameterRegistry


class {type}(ImageModel):
    """Several dense tasks: outputs by name, as the graph gives them. Model.create_model finds it by its model_type."""

    __model__ = "{type}"

    @classmethod
    def parameters(cls):
        """Return those of an image's model, and the labels of the first task of classes."""
        return super().parameters() | ParameterRegistry.LABELS

    def postprocess(self, outputs, meta):
        return outputs


def load(path, device={device!r}):
    """Return the model; create_model alone would leave the precision to the plugin."""
    plugin = {{"INFERENCE_PRECISION_HINT": {hint!r}, "PERFORMANCE_HINT": "LATENCY"}}
    return {type}(OpenvinoAdapter(create_core(), str(path), plugin_config=plugin, device=device), preload=True)
'''


def write_model_api(one: Offer) -> Written:
    """Return the graph with its description, and ``multi_task_dense.py``.

    Raises:
        TargetUnavailable: OpenVINO or ONNX, which writes the graph, is not installed.
    """
    graph = f"{one.manifest.name}.{one.graph.rpartition('.')[2]}"
    described = _ir(one) if one.graph.endswith(IR) else _onnx(one)
    loader = LOADER.format(graph=graph, type=TYPE, hint=one.hint, device=one.device)
    notes = [
        "images are BGR, as OpenCV reads them: reverse_input_channels is set",
        "Segmentation, Model API's own wrapper, takes one or two outputs: the class in multi_task_dense.py takes all",
    ]
    if one.manifest.dataset.size_policy == "pad":
        notes.append("it has no policy pad: letterbox enlarges a smaller image")
    return Written(
        files={f"{one.manifest.name}{suffix}": held for suffix, held in described.items()}
        | {"multi_task_dense.py": loader},
        runs=f"multi_task_dense.load: as judged, {one.judged}; Model.create_model: the plugin's own choice, for a file "
        "cannot pin it",
        notes=tuple(notes),
    )


def model_info(one: Offer) -> dict[str, str]:
    """Return the description of the graph: its wrapper, the classes of its first label map, how an image becomes its input."""
    manifest, form = one.manifest, FORMS[one.manifest.io]
    info = {
        "model_type": TYPE,
        "input_dtype": "u8",
        "reverse_input_channels": "True",
        "resize_type": RESIZES[manifest.dataset.size_policy],
        "orig_height": str(manifest.preprocess.height),
        "orig_width": str(manifest.preprocess.width),
    }
    names = next(iter(one.label_maps.values()), ())
    if names:
        info["labels"] = " ".join("_".join(name.split()) for name in names)
    if not form.maps:
        info["mean_values"] = " ".join(f"{255 * value:.9g}" for value in manifest.preprocess.mean)
        info["scale_values"] = " ".join(f"{255 * value:.9g}" for value in manifest.preprocess.std)
    return info


def _ir(one: Offer) -> dict[str, bytes]:
    """Return ``.xml`` and ``.bin`` of the IR with ``rt_info/model_info``; constants stay in the types that they have."""
    from targets.intel.graph import read, save

    with one.bundle.copied(one.variant.files) as source, tempfile.TemporaryDirectory() as folder:
        model = read(source / one.graph)
        for key, value in model_info(one).items():
            model.set_rt_info(value, ["model_info", key])
        names = save(model, Path(folder) / one.graph)
        del model  # it maps the weights' file
        return {name[name.rindex(".") :]: (Path(folder) / name).read_bytes() for name in names}


def _onnx(one: Offer) -> dict[str, bytes]:
    """Return ``.onnx`` with ``metadata_props``."""
    import onnx

    model: onnx.ModelProto = onnx.load_model_from_string(one.bundle.read(one.graph))
    for key, value in model_info(one).items():
        model.metadata_props.add(key=f"model_info {key}", value=value)
    return {".onnx": model.SerializeToString()}
