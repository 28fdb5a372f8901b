import pytest

from bundle.base.errors import ConfigError
from targets.table import TARGETS, target


def test_every_target_is_found_under_its_own_name() -> None:
    assert {name: target(name).name for name in TARGETS} == {
        "reference": "reference",
        "intel": "intel",
        "jetson": "jetson",
    }


def test_an_unknown_target_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown target 'hailo'") as caught:
        target("hailo")
    assert "reference, intel, jetson" in caught.value.expected
