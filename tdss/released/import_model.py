"""Import a model that the released code of another system saved: the weights tell its configuration."""

from pathlib import Path

from bundle.formats.artifacts import Imported
from bundle.formats.outputs import artifact, require_folder
from tdss import checkpoint
from tdss.backbones.base import Published
from tdss.card import Card
from tdss.config_file import make_config
from tdss.foreign import read_foreign, write_imported
from tdss.model import shapes
from tdss.released.base import Keys
from tdss.released.table import reader
from tdss.toml_file import read_toml


def import_model(system: str, weights: Path, given: Path | None, out: Path) -> Published:
    """Write a checkpoint of a released model; ``given`` holds keys of config.toml that go before what the weights tell.

    Returns what was read of the file; what was left out has no effect.

    Raises:
        InputError: no system has this name, something is at ``out`` that import did not write, or ``out`` is in an input.
        ConfigError: ``given`` is wrong, or lacks a key that the weights do not tell.
        CheckpointError: the weights cannot be read, or are of another model than the configuration's.
    """
    require_folder(out, artifact(Imported), [weights, *([] if given is None else [given])])
    released = read_foreign(weights)
    describe, translate = reader(system)
    keys = {"name": system, **describe(released)}
    if given is not None:
        keys = merged(keys, read_toml(given, "this part of a model's configuration"))
    config = make_config(
        keys,
        weights if given is None else given,
        "give the keys that are named by --config: the weights do not tell them",
    )
    published = translate(released, config)
    checkpoint.match(shapes(config).state_dict(), published.tensors, str(weights))
    card = Card(trained_on=f"released weights of {system}: {weights.name}", steps=0, hours=0.0, metrics={})
    write_imported(out, config, published.tensors, card, weights, {"system": system})
    return published


def merged(keys: Keys, given: Keys) -> Keys:
    """Return ``keys`` with those of ``given`` in their place, table by table; ``tasks`` is replaced, for its order counts."""
    own = {
        name: merged(known, value) if isinstance(known := keys.get(name), dict) and isinstance(value, dict) else value
        for name, value in given.items()
        if name != "tasks"
    }
    return {**keys, **own, **({"tasks": given["tasks"]} if "tasks" in given else {})}
