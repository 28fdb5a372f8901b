"""Small networks that are not ours, with seeded weights, and what their tasks.toml says."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SIDE = 64
UNET = """<ir_version: 9, opset_import: ["": 17]> unet (float[N,3,H,W] pixels) => (float[N,4,H2,W2] logits, float[N,1,H3,W3] metres) {
    a = Conv <pads=[1,1,1,1]> (pixels, w1)
    b = Relu (a)
    c = Conv <strides=[2,2], pads=[1,1,1,1]> (b, w2)
    d = Relu (c)
    e = ConvTranspose <strides=[2,2]> (d, up)
    f = Concat <axis=1> (b, e)
    g = Conv <pads=[1,1,1,1]> (f, w3)
    h = Relu (g)
    logits = Conv (h, head)
    m = Conv (h, depth)
    metres = Softplus (m)
}"""
UNET_WEIGHTS = {
    "w1": (8, 3, 3, 3),
    "w2": (12, 8, 3, 3),
    "up": (12, 8, 2, 2),
    "w3": (16, 16, 3, 3),
    "head": (4, 16, 1, 1),
    "depth": (1, 16, 1, 1),
}
UNET_TASKS = """name = "unet"
[input]
range = "0..1"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[tasks.semseg]
output = "logits"
form = "logits"
[tasks.depth]
output = "metres"
form = "distance"
"""
BYTES = """<ir_version: 8, opset_import: ["": 11]> bytes (uint8[N,h,w,3] frame)
=> (int64[N,h2,w2] classes, float[N,1,h3,w3] salient, float[N,h4,w4,1] nearness, float aux) {
    f = Cast <to=1> (frame)
    s = Mul (f, k)
    t = Transpose <perm=[0,3,1,2]> (s)
    a = Conv <pads=[1,1,1,1]> (t, w1)
    r = Relu (a)
    l = Conv (r, w2)
    classes = ArgMax <axis=1, keepdims=0> (l)
    q = Conv <strides=[2,2]> (r, w3)
    salient = Sigmoid (q)
    i = Conv (r, w4)
    j = Sigmoid (i)
    nearness = Transpose <perm=[0,2,3,1]> (j)
    aux = ReduceMean <keepdims=0> (r)
}"""
BYTES_WEIGHTS = {"w1": (8, 3, 3, 3), "w2": (5, 8, 1, 1), "w3": (1, 8, 1, 1), "w4": (1, 8, 1, 1)}
BYTES_TASKS = """name = "bytes"
unused = ["aux"]
[input]
layout = "nhwc"
range = "0..255"
[tasks.semseg]
output = "classes"
form = "labels"
[tasks.saliency]
output = "salient"
form = "probability"
[tasks.depth]
output = "nearness"
form = "inverse_distance"
layout = "nhwc"
unit_m = 2.0
farthest_m = 5.0
"""


def write(folder: Path, text: str, weights: dict[str, tuple[int, ...]], tasks: str) -> tuple[Path, Path]:
    """Write a network and its tasks.toml; the weights are drawn once and keep the values' scale."""
    model, generator = onnx.parser.parse_model(text), np.random.default_rng(3)
    arrays = {name: generator.normal(size=shape) / np.sqrt(np.prod(shape[1:])) for name, shape in weights.items()}
    arrays["k"] = np.array([1 / 255])
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items() if name in used
    )
    onnx.save(model, folder / "net.onnx")
    (folder / "tasks.toml").write_text(tasks)
    return folder / "net.onnx", folder / "tasks.toml"


def unet(folder: Path, text: str = UNET, tasks: str = UNET_TASKS) -> tuple[Path, Path]:
    """A U-Net with a transposed convolution: class scores and metres, any size."""
    return write(folder, text, UNET_WEIGHTS, tasks)


def of_bytes(folder: Path, text: str = BYTES, tasks: str = BYTES_TASKS) -> tuple[Path, Path]:
    """A network of camera frames at opset 11: classes, probabilities at half the size, and inverse depths."""
    return write(folder, text, BYTES_WEIGHTS, tasks)
