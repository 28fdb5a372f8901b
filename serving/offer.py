"""What a bundle offers a framework, and what is written for it: files, and what will really run."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.formats.io_forms import FORMS
from bundle.formats.manifest import Bundle, BundleVariant, Manifest
from bundle.judging.choice import pick
from bundle.judging.regression_report import RESULT, parse_report
from targets.open import as_variant

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what a repository, a folder and every format here take as it is
IR = ".xml"
CLASSES = "classes.json"


class Offer(NamedTuple):
    """A bundle and the variant of it that is served."""

    bundle: Bundle
    variant: BundleVariant

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def graph(self) -> str:
        """The file name of the variant's graph."""
        return self.variant.files[0]

    @property
    def hint(self) -> str:
        """The float type that the variant was judged with: f32, f16 or bf16."""
        return as_variant(self.variant).recipe.hint

    @property
    def judged(self) -> str:
        """The variant and its float type, in words."""
        return f"variant {self.variant.name}, its float layers in {self.hint}"

    @property
    def device(self) -> str:
        """The device that the bundle's result names, CPU where there is none."""
        if RESULT not in self.bundle.results:
            return "CPU"
        return parse_report(self.bundle.results[RESULT], self.bundle.folder).session.get("device", "CPU")

    @property
    def label_maps(self) -> dict[str, tuple[str, ...]]:
        """The class names of each task of classes."""
        classes = self.manifest.dataset.classes
        return {name: tuple(map(one_line, classes[name])) for name in self.manifest.tasks if name in classes}

    def graph_files(self, stem: str) -> dict[str, bytes]:
        """Return the variant's graph, and the weights beside an IR, named ``stem``."""
        names = [name for name in self.variant.files if ".emulation." not in name]
        return {f"{stem}.{name.rpartition('.')[2]}": self.bundle.read(name) for name in names}


class Written(NamedTuple):
    """What a framework is given: files by path, what will really run, and what is left to whoever installs them."""

    files: Mapping[str, bytes | str]
    runs: str
    notes: tuple[str, ...]


def offer(bundle: Bundle, variant: str) -> Offer:
    """Return a bundle's variant ("": see ``bundle.judging.choice.pick``), whose name every format can hold.

    Raises:
        ArtifactError: there is no such variant, or its recipe is not one of this version.
        InputError: the model's name cannot be that of a folder and of a model in each framework.
    """
    name = bundle.manifest.name
    if NAME.fullmatch(name) is None or len(name) > LIMITS["name"].most:
        raise InputError(
            "this name cannot be that of a served model",
            expected="letters, digits, dots, dashes and underscores",
            got=repr(name),
            where="manifest.json",
            fix="build the bundle under another name: tdss pipeline --checkpoint takes the folder's",
        )
    chosen = bundle.manifest.variant(pick(bundle, variant).variant)
    as_variant(chosen)
    return Offer(bundle, chosen)


def one_line(text: str) -> str:
    """Return a class name without line breaks and other controls."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def classes_json(one: Offer) -> str:
    """Return each task's output, kind, class names and palette as JSON; a label of ``ignore_index`` means nothing."""
    spec = one.manifest.dataset
    tasks = {
        out.name: {
            "output": {"dtype": out.dtype, "shape": out.shape},
            "holds": type(one.manifest.row(out.name).kind).__name__,
            "names": spec.classes.get(out.name, ()),
            "palette": spec.palettes.get(out.name, ()),
        }
        for out in one.manifest.outputs
    }
    size, maps = one.manifest.preprocess, FORMS[one.manifest.io].maps
    image = {"io": one.manifest.io, "size_policy": spec.size_policy, **size.model_dump(), "normalised_in_graph": maps}
    return (
        dumps({"model": one.manifest.name, "image": image, "ignore_index": spec.ignore_index, "tasks": tasks}, indent=2)
        + "\n"
    )


def require_ir(one: Offer, framework: str) -> None:
    """Do nothing if the served graph is an OpenVINO IR.

    Raises:
        InputError: it is another one.
    """
    if not one.graph.endswith(IR):
        raise refused(framework, "an OpenVINO IR", one, "serve a bundle for intel: make target=intel")


def require_io(one: Offer, framework: str, *ios: str) -> None:
    """Do nothing if the bundle has one of these interfaces.

    Raises:
        InputError: it has another one.
    """
    if one.manifest.io not in ios:
        wanted = " or ".join(ios)
        raise refused(
            framework, f"io {wanted}", one, f"build it again with --io {ios[0]}; the guide to serving says why"
        )


def require_onnx(one: Offer, framework: str) -> None:
    """Do nothing if the served graph is an ONNX file.

    Raises:
        InputError: it is another one.
    """
    if not one.graph.endswith(".onnx"):
        raise refused(framework, "an ONNX graph", one, "serve a bundle for jetson: make target=jetson")


def refused(framework: str, expected: str, one: Offer, fix: str) -> InputError:
    """Return the error for a bundle that a framework cannot run; the caller raises it."""
    got = f"{one.graph} for {one.manifest.target}, io {one.manifest.io}"
    return InputError(
        f"{framework} cannot serve this bundle", expected=expected, got=got, where=str(one.bundle.folder), fix=fix
    )
