"""The frame agrees with itself: versions, packages, extras, pins and decision notes."""

import re
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import find_packages

from bundle.base.errors import BASE, RUNTIMES
from bundle.base.version import VERSION
from tests.architecture.source import PACKAGES, ROOT, library

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
# Not installable where the host pins were tested: they need a GPU, a library from the vendor's own index, or older packages.
UNPINNED = {"model-api", "tensorrt", "torch-tensorrt", "triton"}
RANGES = {"bundle": 1, "tdss": 2, "targets": 3, "compile": 4, "report": 5}


def _pins(name: str) -> dict[str, str]:
    """Return the pins that hold for the Python that runs this, by lower-case name."""
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        one.name.lower().replace("_", "-"): str(one.specifier).removeprefix("==")
        for one in pins
        if one.marker is None or one.marker.evaluate()
    }


def _requirements(extras: list[str]) -> list[Requirement]:
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in EXTRAS[extra])]
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != PROJECT["project"]["name"]]


def test_the_changelog_knows_this_version() -> None:
    """A release is the newest section; between two, the version is a later one's, and the changes are unreleased."""
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    if Version(VERSION).is_devrelease:
        assert sections[0] == "Unreleased" and Version(VERSION) > Version(sections[1])
    else:
        assert sections[0] == VERSION
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "bundle.base.version.VERSION"}


def test_every_package_is_listed() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in library()}
    found = PROJECT["tool"]["setuptools"]["packages"]["find"]
    assert sorted(find_packages(str(ROOT), include=found["include"])) == sorted(packages)


def test_every_package_has_an_init() -> None:
    assert [str(path.parent) for path in library() if not (path.parent / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    ("pins", "extras"), [("host.txt", sorted(set(EXTRAS) - UNPINNED - {"device"})), ("device.txt", ["device"])]
)
def test_every_requirement_is_pinned_within_its_range(pins: str, extras: list[str]) -> None:
    tested = _pins(pins)
    wrong = [
        f"{requirement}: pinned {tested.get(requirement.name.lower())}"
        for requirement in _requirements(extras)
        if not requirement.specifier.contains(tested.get(requirement.name.lower(), "0"))
    ]
    assert wrong == []


def test_the_device_installs_no_host_package() -> None:
    assert {requirement.name for requirement in _requirements(["device"])} == {"numpy", "pydantic", "pytest"}


def test_errors_name_the_packages_of_a_device_as_the_extras_do() -> None:
    asked = {re.sub(r"[<>=~!].*", "", line): line for extra in EXTRAS.values() for line in extra}
    assert [*BASE] == [*PROJECT["project"]["dependencies"], *EXTRAS["device"]]
    assert dict(RUNTIMES) == {name: asked[name] for name in RUNTIMES}


def test_errors_name_extras_that_exist() -> None:
    named = {
        extra
        for path in library()
        for extra in re.findall(r"(?:tdss-compiler|-e \.|'\.|\"\.)\[([a-z-]+)\]", path.read_text(encoding="utf-8"))
    }
    assert named <= set(EXTRAS)


def _notes() -> list[Path]:
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def test_decision_notes_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in _notes()]
    assert numbers and len(numbers) == len(set(numbers))


@pytest.mark.parametrize("path", _notes(), ids=lambda path: path.stem)
def test_a_decision_note_says_what_and_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", path.stem)
    assert text.startswith("# ")
    assert len(text.split()) >= 40


def test_packages_are_typed_and_checked() -> None:
    assert sorted(PROJECT["tool"]["mypy"]["packages"]) == sorted(PACKAGES)
