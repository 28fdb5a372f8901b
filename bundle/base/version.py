"""The version of the installed distribution, as every command prints it."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "tdss-compiler"


def version_text() -> str:
    """Return ``tdss`` and its version, or that this checkout is not installed."""
    try:
        return f"tdss {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return "tdss of a checkout that is not installed; make env installs it"
