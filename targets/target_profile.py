"""What holds for a target on any device: ``targets/NAME/profile.json``, which the Makefile reads too."""

from importlib.resources import files
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
    elsewhere the runtime gets the precision as an option. ``opsets`` are the first and the last opset of its graphs; null: any.
    """

    extra: str
    device_extra: str
    system_package: str = ""
    distributions: tuple[str, ...]
    judged_only: tuple[Precision, ...] = ()
    rules: Literal["none", "tensorrt"] = "none"
    fp16_in_graph: bool = False
    opsets: tuple[int, int] | None = None


def read_profile(name: str) -> Profile:
    """Read a target's profile, also where the package is in a zip file.

    Raises:
        pydantic.ValidationError: the file is not of this form.
    """
    return Profile.model_validate_json((files("targets") / name / FILE).read_bytes())


def read_profiles() -> dict[str, Profile]:
    """Read the profile of every target without its code; by the targets' names, sorted."""
    names = sorted(entry.name for entry in files("targets").iterdir() if (entry / FILE).is_file())
    return {name: read_profile(name) for name in names}
