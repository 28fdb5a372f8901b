"""What ``tdss predict`` and ``tdss-runtime.pyz predict`` are asked for: the options in one table, and the record of their values."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen
from bundle.base.limits import Count, CountOrNone, Threads
from bundle.formats.manifest import Manifest
from bundle.tasks.spec import SIZE_POLICIES, SizePolicy
from targets.base import Execute
from targets.judge_options import JUDGING, Option

Policy: TypeAlias = Literal["auto", "every", "newest"]
Written: TypeAlias = Literal["maps", "overlays", "sheets", "arrays", "millimetres"]
WRITTEN: tuple[Written, ...] = get_args(Written)
SHARED = ("execute", "variant", "device", "threads", "key")  # rows of targets/judge_options.py


class Asked(Frozen):
    """The values of all options. ``tasks`` and ``write`` are names with commas between them; ``tasks`` "": all of the bundle."""

    bundle: Path
    source: str
    out: Path
    tasks: str = ""
    write: str = "maps,overlays,sheets"
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    every: Count = 1
    limit: CountOrNone = 0
    frames: Policy = "auto"
    fit: SizePolicy | Literal[""] = ""
    format: str = ""
    codec: str = "mpeg4"
    as_json: bool = False
    execute: Execute = "auto"
    variant: str = ""
    device: str = ""
    threads: Threads = 0
    key: Path | None = None

    def fitted(self, manifest: Manifest) -> Manifest:
        """Return a bundle's manifest with the size policy that is asked for, if one is."""
        if not self.fit:
            return manifest
        spec = manifest.dataset.model_copy(update={"schema_version": 3, "size_policy": self.fit})
        return manifest.model_copy(update={"dataset": spec})

    def kinds(self) -> tuple[Written, ...]:
        """Return what is written.

        Raises:
            InputError: a word is none of ``WRITTEN``.
        """
        words = _chosen("--write", self.write, WRITTEN)
        return tuple(word for word in WRITTEN if word in words)

    def tasks_of(self, manifest: Manifest) -> tuple[str, ...]:
        """Return the tasks that are asked for, in the order of the bundle.

        Raises:
            InputError: the bundle has no such task.
        """
        words = _chosen("--tasks", self.tasks, tuple(manifest.tasks)) if self.tasks else tuple(manifest.tasks)
        return tuple(name for name in manifest.tasks if name in words)


PREDICTING: Mapping[str, Option] = MappingProxyType(
    {
        "tasks": Option("only these tasks, with commas between them; else all of the bundle", "", metavar="NAMES"),
        "write": Option(f"what is written: of {', '.join(WRITTEN)}, with commas between them", "maps,overlays,sheets"),
        "alpha": Option("the share of the colours in an overlay, 0 to 1", 0.5, limit="share"),
        "every": Option("take every Nth image or frame", 1, limit="count", least=1, metavar="N"),
        "limit": Option("stop after so many images or frames; 0: no limit", 0, limit="count", metavar="N"),
        "frames": Option(
            "every frame, or the newest one only; auto: the newest of a device or a URL",
            "auto",
            choices=get_args(Policy),
        ),
        "fit": Option(
            "how an image of another size becomes the model's; else as the bundle was judged", "", choices=SIZE_POLICIES
        ),
        "format": Option("PyAV's name of the source's format, as lavfi; else it is found", "", metavar="NAME"),
        "codec": Option("the encoder of a video", "mpeg4", metavar="NAME"),
        **{name: JUDGING[name] for name in SHARED},
    }
)


def _chosen(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in known:
            raise InputError(
                f"{option} names something that there is not",
                expected=f"names among {', '.join(known)}",
                got=repr(word),
                where=option,
                fix="correct the name; commas part several",
            )
    return words
