import pytest
import tomllib

from bundle.base.errors import ConfigError
from targets.table import TARGETS, target
from targets.target_profile import FILE, read_profiles
from tests.architecture.source import ROOT


def test_every_target_is_found_under_its_own_name() -> None:
    assert {name: target(name).name for name in TARGETS} == {name: name for name in TARGETS}


def test_the_table_has_a_row_for_each_folder_and_an_extra_that_exists_for_each_row() -> None:
    """The Makefile reads the folders, which is why a row is enough."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(read_profiles()) == set(TARGETS)
    for one in TARGETS.values():
        assert {one.profile.extra, one.profile.device_extra} <= set(extras)


@pytest.mark.parametrize("name", TARGETS)
def test_make_finds_in_a_profile_what_the_program_reads(name: str) -> None:
    """make takes a value from a line of its own, which ends with a comma."""
    lines = (TARGETS[name].folder / FILE).read_text().splitlines()
    profile = TARGETS[name].profile
    assert f' "extra": "{profile.extra}",' in lines and f' "device_extra": "{profile.device_extra}",' in lines
    assert not profile.system_package or f' "system_package": "{profile.system_package}",' in lines


def test_an_unknown_target_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown target 'hailo'") as caught:
        target("hailo")
    assert ", ".join(TARGETS) in caught.value.expected
