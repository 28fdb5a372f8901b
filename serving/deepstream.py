"""DeepStream's nvinfer: a key file, labels, and the ONNX graph."""

from serving.offer import Offer, Written, require_io, require_onnx

MODES = {"f32": 0, "f16": 2, "int8": 1}  # network-mode
ENGINE = "model.engine"


def write_deepstream(one: Offer) -> Written:
    """Return ``config_infer.txt`` and what it names. nvinfer has one scale for all channels, so io must be ``nchw``.

    Raises:
        InputError: the bundle holds no ONNX graph, or has another interface.
    """
    require_onnx(one, "deepstream")
    require_io(one, "deepstream", "nchw")
    size, policy = one.manifest.preprocess, one.manifest.dataset.size_policy
    keys = {
        "gpu-id": "0",
        "gie-unique-id": "1",
        "batch-size": "1",
        "onnx-file": "model.onnx",
        "model-engine-file": ENGINE,
        "network-mode": str(MODES.get(one.variant.precision.partition("_")[0], 2)),
        "network-type": "100",
        "output-tensor-meta": "1",
        "output-blob-names": ";".join(out.name for out in one.manifest.outputs),
        "infer-dims": f"3;{size.height};{size.width}",
        "network-input-order": "0",
        "model-color-format": "0",
        "net-scale-factor": "1",
        "maintain-aspect-ratio": "1" if policy in ("letterbox", "pad") else "0",
        "symmetric-padding": "1" if policy in ("letterbox", "pad") else "0",
    }
    labels = {f"labels_{name}.txt": "".join(f"{label}\n" for label in names) for name, names in one.label_maps.items()}
    text = "[property]\n" + "".join(f"{key}={value}\n" for key, value in keys.items())
    notes = [
        f"copy engines/*.engine of the bundle here as {ENGINE}, after python -m targets judged it on this device",
        "network-type 100 and output-tensor-meta: a probe reads the outputs from NvDsInferTensorMeta",
    ]
    if policy in ("crop", "pad"):
        notes.append(
            f"nvinfer has no policy {policy}: cut or pad the frames before it, else what it sees was not judged"
        )
    return Written(
        files={"config_infer.txt": text, **one.graph_files("model"), **labels},
        runs=f"with {ENGINE}: as judged, {one.judged}; without it nvinfer builds its own, in types that were not judged",
        notes=tuple(notes),
    )
