"""The options of judging a bundle, in one table: ``python -m targets``, ``tdss regress`` and ``pytest tests/regression`` read it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, get_args

from bundle.base.arguments import within
from bundle.base.limits import LIMITS
from bundle.judging.harness import Options
from targets.base import Execute, RunConfig

DEFAULTS, RUN = Options(), RunConfig()


class Option(NamedTuple):
    """One option: a sentence, its value where it is not given, and how it is read: a choice, a number up to a limit, text or a path.

    An option that is False by default takes no value.
    """

    help: str
    default: bool | float | str | None = None
    choices: tuple[str, ...] = ()
    limit: str = ""
    metavar: str = ""
    least: int = 0

    @property
    def bounds(self) -> tuple[int, int] | tuple[None, None]:
        """The smallest and the largest number; None for what is no number."""
        return (self.least, LIMITS[self.limit].most) if self.limit else (None, None)

    def settings(self) -> dict[str, object]:
        """Return what argparse and pytest take of it."""
        shown = f" (default: {self.default})" if self.default else ""
        if isinstance(self.default, bool):
            return {"help": self.help, "action": "store_true"}
        if self.choices:
            return {"help": self.help + shown, "choices": self.choices, "default": self.default}
        number = float if isinstance(self.default, float) else int
        read = within(self.least, self.limit, number) if self.limit else Path if self.default is None else str
        named = {"metavar": self.metavar} if self.metavar else {}
        return {"help": self.help + shown, "type": read, "default": self.default, **named}


JUDGING: Mapping[str, Option] = MappingProxyType(
    {
        "allow-inconclusive": Option(
            "let a verdict pass that the images cannot settle; it is named", DEFAULTS.allow_inconclusive
        ),
        "baseline": Option(
            "an earlier regression.json: compare image by image, and fail if this run is worse", metavar="FILE"
        ),
        "data": Option("a labelled folder: judge on a split of it instead of the bundle's images", metavar="DIR"),
        "device": Option("the target's device: CPU, GPU, NPU, AUTO; else the target's choice", RUN.device),
        "execute": Option(
            "run on the device itself, on its emulation (exact per operator), or on what is here",
            "auto",
            choices=get_args(Execute),
        ),
        "key": Option("refuse a bundle that is not signed with this public key", metavar="PUB"),
        "out": Option("write the report here, not into the bundle", metavar="FILE"),
        "reference": Option(
            "with --data: the reference's arrays, from tdss evaluate --arrays on the host", metavar="FILE"
        ),
        "split": Option("which split of --data", DEFAULTS.split, metavar="NAME"),
        "threads": Option("CPU threads; 0: the runtime's choice", RUN.threads, limit="threads"),
        "time-limit": Option(
            "the longest one image may take, in seconds; 0: no limit", DEFAULTS.time_limit_s, limit="seconds"
        ),
        "two-sided": Option("fail on an improvement beyond the budget, too", False),
        "variant": Option("a precision of the bundle; else the one that choice.json names", "", metavar="NAME"),
    }
)


def add_options(add: Callable[..., object], *names: str) -> None:
    """Declare options of the table; ``add`` is argparse's ``add_argument`` or pytest's ``addoption``."""
    for name in names:
        add(f"--{name}", **JUDGING[name].settings())
