"""What holds for a target on any device: ``targets/NAME/profile.json``, which the Makefile reads too."""

from pathlib import Path
from typing import Literal

from bundle.base.frozen import Frozen
from bundle.judging.choice_rule import Precision

FILE = "profile.json"


class Profile(Frozen):
    """The data of a target.

    ``extra`` is what pyproject.toml calls the packages that a host needs, ``device_extra`` what a machine needs that judges a
    bundle. Where the device's system brings the module ``system_package``, ``device`` is enough there.
    ``distributions`` are those whose versions decide its answers.
    ``judged_only`` are variants that a bundle goes without, unless one of them is shipped.
    ``rules`` names the rules that its compiler has for a graph. With ``fp16_in_graph`` a graph holds its FP16 types itself;
    elsewhere the runtime gets the precision as an option.
    """

    extra: str
    device_extra: str
    system_package: str = ""
    distributions: tuple[str, ...]
    judged_only: tuple[Precision, ...] = ()
    rules: Literal["none", "tensorrt"] = "none"
    fp16_in_graph: bool = False


def read_profile(folder: Path) -> Profile:
    """Read a target's profile from its folder.

    Raises:
        pydantic.ValidationError: the file is not of this form.
    """
    return Profile.model_validate_json((folder / FILE).read_bytes())


def read_profiles(folder: Path = Path(__file__).parent) -> dict[str, Profile]:
    """Read the profile of every target without its code; by the targets' names, sorted."""
    return {path.parent.name: read_profile(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))}
