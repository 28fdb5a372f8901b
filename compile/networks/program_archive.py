"""A .pt2 archive, opened without unpickling: what torch.export.load would execute is refused, and only the rest is passed on.

``torch.export.load`` of PyTorch 2.13 unpickles a weight or constant that says so, a custom object, and files of older formats.
It does the same with sample inputs that its safe loader does not take. It loads compiled libraries. It evaluates sizes and
guards as Python. Any attribute of ``torch`` may be an operator, and a container's description names a module to import.

    archive    one root, each entry of a known name and once
    payloads   plain tensors; sample inputs that ``torch.load(weights_only=True)`` takes, saved again
    program    operators of ATen and arithmetic on sizes; sizes as calls of a few functions; tuples, lists and dicts

What was checked is written as a new archive in memory. So no other reader of the same bytes sees anything else.
"""

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bundle.base.errors import GraphError
from bundle.base.frozen import faults
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.zip_entries import UNREADABLE

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
ENTRY = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|models/model\.json|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|extra/[^/]+"
)
PAYLOAD = re.compile(r"(weight|tensor)_\d+")
ARITHMETIC = "getitem add sub mul neg floordiv truediv mod pow eq ne lt le gt ge and_ or_ not_ pos"
OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.sym_(max|min|int|float|not|sum|sqrt)|math\.(ceil|floor|trunc)"
    rf"|_operator\.({'|'.join(ARITHMETIC.split())})"
)
CONTROL = "torch.ops.higher_order."
FILES = re.compile(r"torch\.ops\.aten\.(from_file|save|load|_print|warn|record_stream)\b.*")
WORD = re.compile(
    r"[A-Za-z_]{0,30}|[A-Za-z., ]{1,60}->[A-Za-z. ]{0,30}"
)  # of an operator's text: a mode, or an equation of einsum
CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None})
SYMBOL = re.compile(r"[a-z]{1,3}\d+")
FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Add",
        "Mul",
        "Pow",
        "Mod",
        "FloorDiv",
        "CeilDiv",
        "CleanDiv",
        "PythonMod",
        "IntTrueDiv",
        "FloatTrueDiv",
        "TruncToInt",
        "ToFloat",
        "Max",
        "Min",
        "Abs",
        "floor",
        "ceiling",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "Rational",
        "BooleanTrue",
        "BooleanFalse",
    ]
)
PARTS = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp, ast.USub)
DAMAGED = (*UNREADABLE, json.JSONDecodeError, UnicodeDecodeError, RecursionError, KeyError)
Json = Any  # what json gives


def checked_archive(path: Path) -> bytes:
    """Return the archive at ``path`` with what is harmless of it.

    Raises:
        GraphError: it is no such archive, holds what could run code, or is of another PyTorch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            return _packed(entries, _program(entries, path))
    except (OSError, *DAMAGED) as error:
        raise refused(
            path, "this is no program that torch.export.save wrote", "a .pt2 archive", faults(error)
        ) from error


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """Return the archive's files by their names below its root."""
    entries = dict[str, bytes]()
    roots = {info.filename.partition("/")[0] for info in archive.infolist()}
    if sum(info.file_size for info in archive.infolist()) > LIMITS["bundle_bytes"].most or len(roots) != 1:
        raise refused(path, "this archive is no program", "one folder of at most 2 GiB", f"folders {sorted(roots)}")
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if not ENTRY.fullmatch(name) or name.lower() in {other.lower() for other in entries}:
            raise refused(
                path, "the archive holds what a program does not need", "weights and one graph, each once", name
            )
        entries[name] = archive.read(info)
    if missing := [name for name in (MODEL, SAMPLES, *CONFIGS) if name not in entries]:
        raise refused(path, "this archive is no program of one network", MODEL, f"no {missing[0]}")
    for name in CONFIGS:
        _check_payloads(json.loads(entries[name])["config"], path)
    return entries | {SAMPLES: _read_samples(entries[SAMPLES], path)}


def _check_payloads(config: dict[str, Json], path: Path) -> None:
    for name, payload in config.items():
        if payload.get("use_pickle") is not False or not PAYLOAD.fullmatch(str(payload.get("path_name"))):
            raise refused(path, "the archive holds a pickle or a custom object", "plain tensors", f"{name}")


def _read_samples(content: bytes, path: Path) -> bytes:
    """Return sample inputs as they are saved again, if they are plain tensors in plain containers."""
    import torch

    stream = io.BytesIO()
    try:
        torch.save(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), stream)
    except Exception as error:  # a damaged or hostile pickle leads to any of them
        got = str(error).partition("\n")[0]
        raise refused(path, "the archive's sample inputs are no plain tensors", "tensors", got) from error
    return stream.getvalue()


def _program(entries: dict[str, bytes], path: Path) -> dict[str, Json]:
    """Return the program's description without what only a guard or a debugger reads."""
    import torch

    program: dict[str, Json] = json.loads(entries[MODEL])
    made_by = str(program.get("torch_version"))
    if made_by.split(".")[:2] != torch.__version__.split(".")[:2]:
        raise refused(
            path,
            "this program is of another PyTorch",
            f"PyTorch {torch.__version__}",
            made_by,
            "save it with this PyTorch again: torch.export.save; or export it as .onnx",
        )
    for part in _dicts(program):
        _check_part(part, path)
        if "metadata" in part and "target" in part:
            part["metadata"] = {key: text for key, text in part["metadata"].items() if key == "nn_module_stack"}
    return program | {"guards_code": []}


def _dicts(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dicts(inner)


def _check_part(part: dict[str, Json], path: Path) -> None:
    target, text = part.get("target"), part.get("as_string")
    if isinstance(target, str) and (not OPERATOR.fullmatch(target) or FILES.fullmatch(target)):
        message = (
            "the network has control flow" if target.startswith(CONTROL) else "the network has an operator of its own"
        )
        raise refused(path, message, "operators of ATen", target)
    if isinstance(text, str) and not WORD.fullmatch(text):
        raise refused(path, "an operator takes a text that is no mode", "a word", repr(text))
    if isinstance(part.get("expr_str"), str) and not _is_size(part["expr_str"]):
        raise refused(path, "a size is no arithmetic on sizes", "sums and products of symbols", part["expr_str"])
    for key in ("in_spec", "out_spec"):
        if isinstance(part.get(key), str) and any(
            inner.get("type") not in CONTAINERS for inner in _dicts(json.loads(part[key]))
        ):
            raise refused(
                path, "the network's inputs or outputs are of a class", "tensors, tuples, lists and dicts", key
            )
    if any(key in part for key in ("as_custom_obj", "as_operator", "custom_obj")):
        raise refused(path, "the network holds a custom object", "tensors", str(part)[:80])


def _is_size(text: str) -> bool:
    """Say whether a size is calls of a few functions on numbers and symbols."""
    try:
        parts = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return False
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    known = all(name in FUNCTIONS or SYMBOL.fullmatch(name) for name in names)
    return known and all(map(SYMBOL.fullmatch, texts)) and all(isinstance(part, PARTS) for part in parts)


def _packed(entries: dict[str, bytes], program: dict[str, Json]) -> bytes:
    stream, written = io.BytesIO(), entries | {MODEL: dumps(program).encode()}
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in written.items():
            archive.writestr(f"network/{name}", content)
    return stream.getvalue()


def refused(
    path: Path,
    message: str,
    expected: str,
    got: str,
    fix: str = "export the network as .onnx, or save it again: torch.export.save of a plain program",
) -> GraphError:
    """Return the error about a program."""
    return GraphError(message, expected=expected, got=got, where=str(path), fix=fix)
