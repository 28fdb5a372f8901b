"""What ``manifest.json`` of a bundle holds, and the one way to open a bundle: with every byte checked.

``files`` lists every file of the bundle with its sha256, except the manifest itself and what a device writes later.
The manifest, the results and the engines each have a hash file beside them (bundle/formats/hash_files.py). The sha256 of
``manifest.json`` is the bundle's identity, which every result names.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from bundle.base.errors import ArtifactError, ProjectError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import Channels, NotNegative, Seed
from bundle.formats.artifacts import TensorSpec, read_file, verify_files
from bundle.formats.contents import EXPECTED, MANIFEST, RESULTS, VECTORS, check_contents, listable
from bundle.formats.engines import check_engines
from bundle.formats.hash_files import Digest, write_hashed
from bundle.formats.io_forms import Io, interface
from bundle.formats.results import Result, read_manifest_bytes, read_results, require_results, write_result
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import DatasetSpec
from bundle.tasks.table import Task, task

SCHEMA = 4
SINCE_4: tuple[Io, ...] = ("nchw", "nhwc")  # interfaces that older versions do not know
STRICT = 0.1  # `strict` budgets are this fraction of the task table's: 99.9 % instead of 99 %


class BundleVariant(Frozen):
    """One precision of the graph: its files relative to the bundle (the graph first) and the recipe that made it.

    ``recipe`` holds the target's own words for it (its ``VariantRecipe`` as a mapping of strings).
    """

    name: str
    precision: str
    files: tuple[str, ...] = Field(min_length=1)
    recipe: dict[str, str]


class Engine(Frozen):
    """Whether the engine was built where the bundle was; a deferred one has a reason."""

    status: Literal["built", "deferred"]
    reason: str = ""

    @model_validator(mode="after")
    def _deferral_has_a_reason(self) -> "Engine":
        if self.status == "deferred" and not self.reason:
            raise ValueError("a deferred engine needs a reason")
        return self


class Reference(Frozen):
    """What every drop is measured against: the eager float32 output of the unfolded checkpoint."""

    checkpoint_sha256: str
    framework: str  # e.g. "torch 2.13.0, eager, float32, unfolded"


class Seeds(Frozen):
    """Every seed that decides a number of the bundle."""

    sampling: Seed
    bootstrap: Seed


class Manifest(Frozen):
    """A bundle's table of contents and the terms it is judged by.

    ``tasks`` maps each task to its raw output channels, in output order; ``budgets`` to the largest tolerated
    relative drop of its metric. ``parents`` maps a stage's name to the sha256 of its artifact. ``results`` names the
    results the bundle was shipped with; their bytes may change (bundle/formats/results.py). ``agreement`` names the tasks
    that are judged without labels, against the reference's own predictions; version 2 has no such tasks. Version 4 is that of the
    interfaces ``SINCE_4``, and the others are written as version 3.
    """

    schema_version: Literal[2, 3, 4] = 3
    name: str
    target: str
    io: Io
    tasks: dict[str, Channels]
    dataset: DatasetSpec
    preprocess: Preprocess
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    variants: tuple[BundleVariant, ...]
    shipped: str
    engine: Engine
    reference: Reference
    budgets: dict[str, NotNegative]
    agreement: tuple[str, ...] = ()
    seeds: Seeds
    tools: dict[str, str]
    settings: dict[str, JsonValue]
    parents: dict[str, str]
    files: dict[str, Digest]
    results: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        if tuple(self.budgets) != tuple(self.tasks):
            raise ValueError(f"budgets are for {list(self.budgets)}, tasks are {list(self.tasks)}")
        if not set(self.agreement) <= set(self.tasks):
            raise ValueError(f"judged by agreement are {list(self.agreement)}, tasks are {list(self.tasks)}")
        if self.shipped not in [variant.name for variant in self.variants]:
            raise ValueError(
                f"the shipped variant {self.shipped!r} is none of {[variant.name for variant in self.variants]}"
            )
        if self.io in SINCE_4 and self.schema_version < 4:
            raise ValueError(f"io {self.io!r} is of schema_version 4")
        inputs, outputs = interface(self.io, self.preprocess, self.tasks)
        if (self.inputs, self.outputs) != (inputs, outputs):
            raise ValueError(f"a bundle with io {self.io!r} takes {inputs} and gives {outputs}")
        for name in [*self.files, *(name for variant in self.variants for name in variant.files)]:
            if not listable(name):
                raise ValueError(f"{name!r} is no file that a bundle lists: {EXPECTED}")
        if not set(self.results) <= set(RESULTS):
            raise ValueError(f"results are among {list(RESULTS)}, not {list(self.results)}")
        return self

    def row(self, name: str) -> Task:
        """Return a task of the bundle as it is judged."""
        row = task(name)
        return row.by_agreement() if name in self.agreement else row

    def variant(self, name: str) -> BundleVariant:
        """Return the variant called ``name``.

        Raises:
            ArtifactError: the bundle has no such variant.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        names = [variant.name for variant in self.variants]
        raise ArtifactError(
            f"this bundle has no variant {name!r}",
            expected=f"one of {names}",
            got=repr(name),
            where=MANIFEST,
            fix="name a variant the bundle holds",
        )


class Bundle(Frozen):
    """A bundle that was opened, so every file in it is what its build wrote.

    ``content`` are the bytes of ``manifest.json`` that were checked and parsed, ``results`` those of each result that
    was there, and of the signature. The folder may change afterwards: what is used of it comes through ``read`` or ``copied``.
    """

    folder: Path
    manifest: Manifest
    content: bytes = Field(default=b"", repr=False)
    results: dict[str, bytes] = Field(default_factory=dict, repr=False)

    @property
    def sha256(self) -> str:
        """The bundle's identity: the sha256 of its manifest's bytes."""
        return sha256(self.content).hexdigest()

    @property
    def vectors(self) -> bytes:
        """The stored images, labels and reference results: ``read`` of vectors.npz."""
        return self.read(VECTORS)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file that the manifest lists, hashed as they are read, or of a result as it was opened.

        Raises:
            ArtifactError: the manifest does not list it, or it is missing or was altered since the bundle was opened.
        """
        if name in self.results:
            return self.results[name]
        if name not in self.manifest.files:
            raise _unlisted(self.folder, name)
        return read_file(self.folder, name, self.manifest.files[name])

    @contextmanager
    def copied(self, names: Iterable[str]) -> Iterator[Path]:
        """Yield a private folder with these files as ``read`` returns them, for a runtime that wants paths.

        An error that is raised within names the bundle's folder, not the private one.

        Raises:
            ArtifactError: as ``read`` raises it.
        """
        with TemporaryDirectory(prefix="bundle.") as scratch:
            for name in dict.fromkeys(names):
                (Path(scratch) / name).write_bytes(self.read(name))
            try:
                yield Path(scratch)
            except ProjectError as error:
                error.where = error.where.replace(scratch, str(self.folder))
                error.got = error.got.replace(scratch, str(self.folder))
                raise

    def write(self, name: str, value: Result) -> Path:
        """Write a result as one of this bundle, whatever is in the folder now; return its path."""
        return write_result(self.folder, name, value, self.sha256)


def default_budgets(tasks: Iterable[str], *, strict: bool, agreement: Iterable[str] = ()) -> dict[str, float]:
    """Return each task's budget from the task table (MLPerf's 99 % rule), or a tenth of it (99.9 %).

    Those that are judged by ``agreement`` have budgets of their own.
    """
    rows = [task(name).by_agreement() if name in tuple(agreement) else task(name) for name in tasks]
    return {row.name: row.budget * (STRICT if strict else 1.0) for row in rows}


def write_manifest(folder: Path, manifest: Manifest) -> str:
    """Write ``manifest.json`` with its hash, and return its sha256."""
    content = (manifest.model_dump_json(indent=2) + "\n").encode()
    write_hashed(folder / MANIFEST, content)
    return sha256(content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` and check it against its hash, without hashing the other files.

    Raises:
        ArtifactError: there is none, it was altered, or it is not of this schema.
    """
    return parse_manifest(read_manifest_bytes(folder)[0], folder)


def parse_manifest(content: bytes, folder: Path) -> Manifest:
    """Return the manifest that these bytes hold; ``folder`` is where they are from.

    Raises:
        ArtifactError: it is not of this schema.
    """
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        newer = _newer(error)
        raise ArtifactError(
            f"this bundle is of format {newer}, which is newer" if newer else f"{MANIFEST} cannot be read",
            expected=f"schema_version 2 to {SCHEMA}",
            got=faults(error),
            where=str(folder / MANIFEST),
            fix="take the tdss-runtime.pyz that was published beside the archive, or the version of the project that built it"
            if newer
            else "build the bundle again with this version of the project",
        ) from error


def _newer(error: ValidationError) -> int:
    """Return the format that a later version of the project wrote; 0 if the error is about something else."""
    versions = [fault["input"] for fault in error.errors() if fault["loc"] == ("schema_version",)]
    return next((version for version in versions if isinstance(version, int) and version > SCHEMA), 0)


def load_bundle(folder: Path) -> Bundle:
    """Open a bundle: read its manifest once, and check every file it lists, every result and every engine that is there.

    A result that is missing is no obstacle, for the caller may be about to write it; ``verify_bundle`` asks for it.

    Raises:
        ArtifactError: the manifest or a file is missing or was altered, or there is a file that no bundle holds; it is named.
    """
    content, digest = read_manifest_bytes(folder)
    manifest = parse_manifest(content, folder)
    needed = {VECTORS, *(name for variant in manifest.variants for name in variant.files)}
    for name in sorted(needed - set(manifest.files)):
        raise _unlisted(folder, name)
    check_contents(folder, manifest.files)
    verify_files(folder, manifest.files)
    results = read_results(folder, digest)
    check_engines(folder)
    return Bundle(folder=folder, manifest=manifest, content=content, results=results)


def verify_bundle(folder: Path) -> Bundle:
    """Open a bundle as ``load_bundle`` does, and check that it is complete: with the results it was shipped with.

    Raises:
        ArtifactError: a file is missing or was altered; it is named.
    """
    bundle = load_bundle(folder)
    require_results(folder, bundle.manifest.results, bundle.results)
    return bundle


def _unlisted(folder: Path, name: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is not listed in {MANIFEST}",
        expected="a sha256 for every file",
        got="none",
        where=str(folder),
        fix="build the bundle again",
    )
