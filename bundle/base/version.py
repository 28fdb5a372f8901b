"""The version of the project, as every command prints it; pyproject.toml reads it from here."""

DISTRIBUTION = "tdss-compiler"
VERSION = "0.2.0.dev0"


def version_text() -> str:
    """Return ``tdss`` and its version."""
    return f"tdss {VERSION}"
