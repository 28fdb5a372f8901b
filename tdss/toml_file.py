"""A TOML file from outside, read into plain values or refused with one error."""

import re
from pathlib import Path

import tomllib

from bundle.base.errors import ConfigError, system_reason
from bundle.base.limits import LIMITS, read_limited

DEPTH = LIMITS["toml_depth"].most
DOTTED = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEPTH}}}""", re.ASCII)
"""A key of more than DEPTH names with dots between them: tomllib and pydantic take the square of their number in memory."""


def read_toml(path: Path, what: str, *, fix: str = "correct the path or the file") -> dict[str, object]:
    """Return the values of a TOML file; ``what`` names it in the error, as in "the model's configuration".

    Raises:
        ConfigError: the file is missing, cannot be read or is no TOML.
        InputError: it is too large.
    """
    try:
        text = read_limited(path, "toml_bytes").decode()
        if DOTTED.search(text):
            raise ValueError(f"a key of more than {DEPTH} names")
        return tomllib.loads(text)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise ConfigError(
            f"{what} {'is missing' if missing else 'cannot be read'}",
            expected="a TOML file",
            got=system_reason(error),
            where=str(path),
            fix=fix,
        ) from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, an integer of 5,000 digits; nested 1,000 deep
        raise ConfigError(
            f"{what} is no TOML",
            expected="TOML 1.0",
            got=str(error),
            where=str(path),
            fix="correct the line that is named",
        ) from error
