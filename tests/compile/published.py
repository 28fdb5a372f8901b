"""A tiny DINOv2 as a published ONNX graph: named biases, norms and gains, weights without a name, positions to be resized."""

import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DIM, HEADS, PATCH, SIDE, TABLE, BLOCKS = 16, 2, 4, 16, 5, 2
GRID = SIDE // PATCH
TOML = """
name = "tiny"
runs = "{folder}/runs"
steps = 1
batch = 1
init_backbone = "{folder}/start"
freeze_backbone = true
data = {{ root = "x", spec = "x/dataset.json" }}
augment = {{}}
optimizer = {{ lr = 1e-3 }}
losses = {{ semseg = {{}} }}

[model]
name = "tiny"
tasks = {{ semseg = 3 }}
image = {{ height = 16, width = 16 }}
backbone = {{ kind = "vit", dim = 16, depths = [1, 1], heads = 2, patch = 4 }}
adapter = {{ kind = "none" }}
decoder = {{ widths = [8, 8], hidden = 8, stride = 4 }}
"""


class Builder:
    """Nodes and initializers in the order in which they are added."""

    def __init__(self, epsilon: float) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.generator = np.random.default_rng(0)
        self.epsilon = epsilon

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, *shape: int, centre: float = 0.0) -> str:
        self.tensors[name] = (centre + 0.3 * self.generator.normal(size=shape)).astype(np.float32)
        return name

    def shape(self, *sizes: int) -> str:
        name = f"shape{len(self.tensors)}"
        self.tensors[name] = np.array(sizes, np.int64)
        return name

    def linear(self, x: str, name: str, inner: int, outer: int) -> str:
        """A product with a weight that has no name, and a bias that has one."""
        product = self.node("MatMul", x, self.weight(f"onnx::MatMul_{len(self.tensors)}", inner, outer))
        pair = (self.weight(f"{name}.bias", outer), product)
        return self.node("Add", *(pair if outer == DIM else pair[::-1]))

    def norm(self, x: str, name: str) -> str:
        weights = self.weight(f"{name}.weight", DIM, centre=1.0), self.weight(f"{name}.bias", DIM)
        return self.node("LayerNormalization", x, *weights, epsilon=self.epsilon)

    def heads(self, x: str, axes: tuple[int, ...]) -> str:
        split = self.node("Reshape", x, self.shape(1, -1, HEADS, DIM // HEADS))
        return self.node("Transpose", split, perm=list(axes))

    def block(self, x: str, name: str) -> str:
        n = self.norm(x, f"{name}.norm1")
        inner = f"{name}.attention.attention"
        key = self.heads(self.linear(n, f"{inner}.key", DIM, DIM), (0, 2, 3, 1))
        value = self.heads(self.linear(n, f"{inner}.value", DIM, DIM), (0, 2, 1, 3))
        query = self.heads(self.linear(n, f"{inner}.query", DIM, DIM), (0, 2, 1, 3))
        self.tensors["scale"] = np.float32((DIM // HEADS) ** -0.5)
        weights = self.node("Softmax", self.node("Mul", self.node("MatMul", query, key), "scale"), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        dense = self.linear(
            self.node("Reshape", mixed, self.shape(1, -1, DIM)), f"{name}.attention.output.dense", DIM, DIM
        )
        gain = self.weight(f"{name}.layer_scale1.lambda1", DIM, centre=1.0)
        x = self.node("Add", self.node("Mul", dense, gain), x)
        hidden = self.node("Gelu", self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1", DIM, 4 * DIM))
        gain = self.weight(f"{name}.layer_scale2.lambda1", DIM, centre=1.0)
        return self.node("Add", self.node("Mul", self.linear(hidden, f"{name}.mlp.fc2", 4 * DIM, DIM), gain), x)

    def tokens(self) -> str:
        prefix = "backbone.embeddings"
        embedding = self.weight(f"{prefix}.patch_embeddings.projection.weight", DIM, 3, PATCH, PATCH)
        bias = self.weight(f"{prefix}.patch_embeddings.projection.bias", DIM)
        maps = self.node("Conv", "input_image", embedding, bias, strides=[PATCH, PATCH])
        patches = self.node("Transpose", self.node("Reshape", maps, self.shape(0, DIM, -1)), perm=[0, 2, 1])
        joined = self.node("Concat", self.weight(f"{prefix}.cls_token", 1, 1, DIM), patches, axis=1)
        table = self.weight("onnx::Reshape_1", 1, TABLE * TABLE, DIM)
        square = self.node(
            "Transpose", self.node("Reshape", table, self.shape(1, TABLE, TABLE, DIM)), perm=[0, 3, 1, 2]
        )
        resized = self.node("Resize", square, "", "", self.shape(1, DIM, GRID, GRID), mode="cubic")
        rows = self.node("Reshape", self.node("Transpose", resized, perm=[0, 2, 3, 1]), self.shape(1, GRID * GRID, DIM))
        first = self.weight("onnx::Concat_1", 1, 1, DIM)
        return self.node("Add", joined, self.node("Concat", first, rows, axis=1))


def graph(*, epsilon: float = 1e-6) -> onnx.ModelProto:
    """The tiny graph; another ``epsilon`` makes it compute something else than DINOv2's."""
    builder = Builder(epsilon)
    x = builder.tokens()
    for number in range(BLOCKS):
        x = builder.block(x, f"backbone.encoder.layer.{number}")
    answer = builder.node("Sigmoid", builder.norm(x, "backbone.layernorm"))
    made = helper.make_graph(
        builder.nodes,
        "published",
        [helper.make_tensor_value_info("input_image", TensorProto.FLOAT, ["batch_size", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["batch_size", "tokens", DIM])],
        [numpy_helper.from_array(array, name) for name, array in builder.tensors.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def wheel(path: Path, *models: onnx.ModelProto) -> Path:
    """A wheel with these graphs in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/__init__.py", "raise SystemExit\n")
        for number, model in enumerate(models):
            archive.writestr(f"made/models/{number}.onnx", model.SerializeToString())
    return path
