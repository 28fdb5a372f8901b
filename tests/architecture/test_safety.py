"""Nothing is unpickled, nothing is swallowed, nothing hidden: rules a linter does not have."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source import library, place, tree

PICKLES = {"cPickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
# terminal.py escapes; the progress display escapes its lines; the others print in a process without our packages.
MAY_PRINT = {
    "bundle/base/terminal.py",
    "device_runtime/__main__.py",
    "examples/infer.py",
    "tdss/train.py",
    "compile/_path.py",
    "compile/graphs/onnxsim_worker.py",
}
# What reads a foreign .pth, and the sample inputs of a foreign .pt2: both with weights_only=True.
MAY_LOAD_TORCH_FILES = {"tdss/foreign.py", "compile/networks/program_archive.py"}


def _calls(module: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def _argument(call: ast.Call, name: str) -> str:
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), "")


def unsafe(module: ast.Module) -> list[tuple[str, int]]:
    """Name every way a module could run what a file says, with its line."""
    found = [
        (alias.name, node.lineno)
        for node in ast.walk(module)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if {alias.name.partition(".")[0], getattr(node, "module", None) or ""} & PICKLES
    ]
    for call, name in _calls(module):
        if name in {"eval", "exec"} or name == "torch.load":
            found.append((name, call.lineno))
        if name.endswith("np.load") and _argument(call, "allow_pickle") != "False":
            found.append((f"{name} without allow_pickle=False", call.lineno))
    return found


def test_nothing_is_unpickled() -> None:
    wrong = [
        f"{place(path, line)} {name}"
        for path in library()
        if not any(path.as_posix().endswith(name) for name in MAY_LOAD_TORCH_FILES)
        for name, line in unsafe(tree(path))
    ]
    assert wrong == []


def empty(module: ast.Module) -> list[tuple[str, int]]:
    """Name every function that does nothing, with its line; a contract's, abstract or of a Protocol, are not meant to."""
    contracts = {
        child
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Protocol") for base in node.bases)
        for child in node.body
    }
    return [
        (node.name, node.lineno)
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node not in contracts
        if not any(ast.unparse(one).endswith("abstractmethod") for one in node.decorator_list)
        if all(isinstance(line, ast.Pass) or _is_constant(line) for line in node.body)
    ]


def _is_constant(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def test_no_function_is_empty() -> None:
    assert [f"{place(path, line)} {name}" for path in library() for name, line in empty(tree(path))] == []


@pytest.mark.parametrize("body", ["pass", "...", "'Later.'", "'Later.'\n        pass"])
def test_the_check_sees_an_empty_function_and_lets_a_contract_be(body: str) -> None:
    text = "class A{base}:\n    {mark}\n    def run(self):\n        {body}\n"
    assert empty(ast.parse(text.format(base="", mark="", body=body))) == [("run", 3)]
    assert empty(ast.parse(text.format(base="(Protocol)", mark="", body=body))) == []
    assert empty(ast.parse(text.format(base="", mark="@abstractmethod", body=body))) == []
    assert empty(ast.parse(text.format(base="", mark="", body="return 1"))) == []


def test_no_marks_of_unfinished_work() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    lines = [(p, n, line) for p in library() for n, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)]
    assert [place(path, number) for path, number, line in lines if any(mark in line for mark in marks)] == []


def test_no_error_is_swallowed() -> None:
    wrong = [
        place(path, node.lineno)
        for path in library()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert wrong == []


def printed(module: ast.Module) -> list[tuple[str, int]]:
    """Name every way a module could write to the terminal without escaping, with its line."""
    return [
        (name, call.lineno)
        for call, name in _calls(module)
        if name == "Console" or name.startswith(("sys.stdout.write", "sys.stderr.write"))
    ]


def test_what_reaches_the_terminal_is_escaped_in_one_place() -> None:
    wrong = [
        f"{place(path, line)} {name}"
        for path in library()
        if not any(path.as_posix().endswith(name) for name in MAY_PRINT)
        for name, line in printed(tree(path))
    ]
    assert wrong == []


@pytest.mark.parametrize("text", ["Console(stderr=True)", "sys.stdout.writelines(x)", "sys.stderr.write('a')"])
def test_the_check_sees_what_is_printed(text: str) -> None:
    assert len(printed(ast.parse(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "torch.load('x', weights_only=True)",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "eval('1')",
    ],
)
def test_the_check_sees_unsafe_calls(text: str) -> None:
    assert len(unsafe(ast.parse(text))) == 1


def test_the_check_lets_safe_calls_pass() -> None:
    assert unsafe(ast.parse("np.load('x', allow_pickle=False)\nmodel.eval()")) == []


def test_every_library_file_has_a_docstring() -> None:
    missing: list[Path] = [path for path in library() if not ast.get_docstring(tree(path))]
    assert missing == []


def starts_of_python(module: ast.Module) -> list[int]:
    """Return the lines on which a command begins with this Python."""
    lists = (node for node in ast.walk(module) if isinstance(node, ast.List | ast.Tuple) and node.elts)
    return sorted(node.lineno for node in lists if ast.unparse(node.elts[0]) == "sys.executable")


def test_python_is_started_isolated() -> None:
    """bundle/base/isolated.py makes the command; another way would import what is in a working directory."""
    wrong = [
        place(path, line) for path in library() if path.name != "isolated.py" for line in starts_of_python(tree(path))
    ]
    assert wrong == []
    assert starts_of_python(ast.parse("run([sys.executable, '-m', 'x'])\nA = (sys.executable, 'y')")) == [1, 2]
