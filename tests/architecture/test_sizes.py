"""One idea per file, at most 400 lines; functions are short: median at most 10 lines, none above 50."""

import ast
from statistics import median

from tests.architecture.source import everything, library, place, tree

FILE_LINES = 400
FUNCTION_LINES = 50
MEDIAN_LINES = 10


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without decorators and without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module, nested ones too."""
    return [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_files_are_short() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in everything()}
    assert [f"{place(path, lines)}" for path, lines in sizes.items() if lines > FILE_LINES] == []


def test_functions_are_short() -> None:
    wrong = [
        f"{place(path, function.lineno)} {function.name}: {length(function)} lines"
        for path in everything()
        for function in functions(tree(path))
        if length(function) > FUNCTION_LINES
    ]
    assert wrong == []


def test_the_median_function_is_short() -> None:
    assert median(length(function) for path in library() for function in functions(tree(path))) <= MEDIAN_LINES


def test_a_docstring_does_not_count() -> None:
    [function] = functions(ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'))
    assert length(function) == 2
