"""Small bundles for the frameworks: an IR or an ONNX graph whose bytes mean nothing, any interface, any policy."""

from pathlib import Path

from bundle.formats.io_forms import Io
from bundle.formats.manifest import Bundle, BundleVariant, load_bundle, write_manifest
from tests.bundle.made import SPEC, evaluated, hash_bundle, manifest, write_vectors
from tests.bundle.made import TASKS as TASKS


def offered(folder: Path, suffix: str, io: Io = "edge", *, hint: str = "f32", **changes: object) -> Bundle:
    """A bundle of one variant, whose graph is ``int8.xml`` with its weights, or ``int8.onnx``."""
    folder.mkdir(parents=True)
    files = ("int8.xml", "int8.bin") if suffix == ".xml" else ("int8.onnx", "int8.emulation.onnx")
    for name in files:
        (folder / name).write_bytes(name.encode())
    write_vectors(folder / "vectors.npz", evaluated(1), tasks=TASKS, spec=SPEC)
    recipe = {"name": "int8", "graph": "quantized", "hint": hint, "reason": "a test"}
    variant = BundleVariant(name="int8", precision="int8", files=files, recipe=recipe)
    made = manifest(folder, io).model_copy(update={"variants": (variant,), "shipped": "int8", **changes})
    write_manifest(folder, made.model_copy(update={"files": hash_bundle(folder)}))
    return load_bundle(folder)
