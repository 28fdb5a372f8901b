"""The error for a runtime that is not installed: it names the extra that brings it."""

from bundle.errors import TargetUnavailable


def missing_runtime(package: str, extra: str) -> TargetUnavailable:
    """Return the error for a Python package that this environment lacks; the caller raises it."""
    return TargetUnavailable(
        f"{package} is not installed",
        expected=f"the Python package {package}",
        got="ModuleNotFoundError",
        where="this Python environment",
        fix=f"pip install -e .[{extra}]",
    )
