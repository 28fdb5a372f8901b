"""The explicit table of targets. Adding a target is one folder, its test and one line here."""

from types import MappingProxyType

from bundle.base.errors import ConfigError
from targets.base import Target
from targets.intel.target import INTEL
from targets.jetson.target import JETSON
from targets.onnxruntime.target import ONNXRUNTIME
from targets.reference.target import REFERENCE

ROWS = (REFERENCE, INTEL, JETSON, ONNXRUNTIME)
TARGETS: MappingProxyType[str, Target] = MappingProxyType({row.name: row for row in ROWS})


def target(name: str) -> Target:
    """Return the target called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in TARGETS:
        raise ConfigError(
            f"unknown target {name!r}",
            expected=f"one of {', '.join(TARGETS)}",
            got=repr(name),
            where="the target's name",
            fix="correct the name, or add a line to targets/table.py",
        )
    return TARGETS[name]
