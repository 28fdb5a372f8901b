"""The file of accepted warnings."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from compile.tensorrt_checks.rules.accepted import read_accepted

GOOD = """
[[accept]]
rule = "residual-input"
node = 'backbone\\..*'
reason = "the stream stays exact"
measured = "tdss lint, 2 dB"
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "accept.toml").write_text(GOOD)
    [one] = read_accepted(tmp_path / "accept.toml")
    assert (one.rule, one.node) == ("residual-input", r"backbone\..*")


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("residual-input", "symmetric-int8"),
        GOOD.replace("residual-input", "no-such-rule"),
        GOOD.replace('measured = "tdss lint, 2 dB"', ""),
        GOOD.replace('reason = "the stream stays exact"', 'reason = ""'),
        GOOD.replace("'backbone\\..*'", "'('"),
        GOOD + "\nanother = 1",
        "accept = [",
    ],
)
def test_a_file_that_says_too_little_or_too_much(text: str, tmp_path: Path) -> None:
    (tmp_path / "accept.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_accepted(tmp_path / "accept.toml")
    assert "accept.toml" in caught.value.where


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read_accepted(tmp_path / "accept.toml")
