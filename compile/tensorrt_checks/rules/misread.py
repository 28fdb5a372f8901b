"""What the parser takes and reads as something else: attributes that it ignores, functions called like an operator."""

from collections.abc import Iterator

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import integer
from compile.tensorrt_checks import operators as tables
from compile.tensorrt_checks.rules.view import View, name_of

NAME = "misread"
IGNORED = (
    "TensorRT's parser does not read {name} of {operator}: it computes as with {name} = {default}, without a message"
)
REPLACED = (
    "TensorRT's parser looks for an operator of a name before it looks for a function: it computes {operator} instead"
)


def check(view: View) -> Iterator[Finding]:
    """Look at the attributes that are ignored, and at the names of the functions."""
    for (operator, name), default in tables.IGNORED.items():
        for node in view.each(operator):
            if integer(node, name, default) != default:
                effect = IGNORED.format(name=name, operator=operator, default=default)
                yield _finding(name_of(node), effect, f"export with {name} = {default}, and Transposes around it")
    for name in view.functions:
        if name in view.table.operators:
            yield _finding(name, REPLACED.format(operator=name), "give the function another name")


def _finding(node: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=node, tensor="", effect=effect, fix=fix)
