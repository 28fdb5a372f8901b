"""A runtime that is not installed ends with exit code 3 and the command that brings it."""

import sys

import pytest

from bundle.base.errors import TargetUnavailable
from targets.base import RunConfig
from targets.intel import runtime
from targets.table import TARGETS, target


@pytest.mark.parametrize("name", TARGETS)
def test_names_the_extra_to_install(monkeypatch, name: str) -> None:
    package, *_ = TARGETS[name].profile.distributions
    monkeypatch.setitem(sys.modules, package, None)
    runtime.shared_core.cache_clear()
    with pytest.raises(TargetUnavailable, match=f"needs {package}, which is not installed") as caught:
        target(name).capabilities(RunConfig())
    assert caught.value.exit_code == 3
    assert f"--editable '.[{TARGETS[name].profile.device_extra}]'" in caught.value.fix
