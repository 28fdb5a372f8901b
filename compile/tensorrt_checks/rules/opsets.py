"""The opset and the types at the graph's border: what TensorRT 10.3's parser takes at all."""

from collections.abc import Iterator

from bundle.formats.tensorrt_checks import Finding
from compile.tensorrt_checks import operators_10_3 as table
from compile.tensorrt_checks.rules.view import View, tensor_of

NAME = "known-opset"
LEAST, MOST = table.OPSETS
SEVERAL = "the parser of TensorRT {version} takes opset {least} to {most}, not {opset}: newer operators are rejected or misread"
FIX = "export at opset 20 (torch.onnx.export(..., opset_version=20)), which TensorRT 10.x and 11.x both take"
BORDER = "the graph is rejected: a network has no input or output of type {kind}"


def check(view: View) -> Iterator[Finding]:
    """Look at the opset, and at the graph's inputs and outputs."""
    if not LEAST <= view.opset <= MOST:
        effect = SEVERAL.format(version=table.VERSION, least=LEAST, most=MOST, opset=view.opset)
        yield _finding("", effect, FIX)
    for value in (*view.model.graph.inputs, *view.model.graph.outputs):
        if value.dtype is not None and value.dtype not in table.TENSORS:
            fix = "Cast outside of the graph, or export it with another type"
            yield _finding(tensor_of(value), BORDER.format(kind=value.dtype.name), fix)


def _finding(tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node="the graph", tensor=tensor, effect=effect, fix=fix)
