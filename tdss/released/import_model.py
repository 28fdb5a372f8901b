"""Import a model that the released code of another system saved: the weights tell its configuration."""

from pathlib import Path

from bundle.formats.artifacts import Imported
from bundle.formats.outputs import artifact, require_folder
from tdss import checkpoint
from tdss.card import Card
from tdss.config_file import make_config
from tdss.foreign import read_foreign, write_imported
from tdss.model import shapes
from tdss.released.base import Keys
from tdss.released.table import reader
from tdss.toml_file import read_toml


def import_model(system: str, weights: Path, given: Path | None, out: Path) -> tuple[str, ...]:
    """Write a checkpoint of a released model; ``given`` holds keys of config.toml that go before what the weights tell.

    Returns the names of the file that were left out because they have no effect.

    Raises:
        InputError: no system has this name, something is at ``out`` that import did not write, or ``out`` is in an input.
        ConfigError: ``given`` is wrong, or lacks a key that the weights do not tell.
        CheckpointError: the weights cannot be read, or are of another model than the configuration's.
    """
    require_folder(out, artifact(Imported), [weights, *([] if given is None else [given])])
    describe, translate = reader(system)
    released = read_foreign(weights)
    keys = {"name": system, **describe(released)}
    if given is not None:
        keys = merged(keys, read_toml(given, "this part of a model's configuration"))
    config = make_config(
        keys,
        weights if given is None else given,
        "give the keys that are named by --config: the weights do not tell them",
    )
    tensors, left = translate(released, config)
    checkpoint.match(shapes(config).state_dict(), tensors, str(weights))
    card = Card(trained_on=f"released weights of {system}: {weights.name}", steps=0, hours=0.0, metrics={})
    write_imported(out, config, tensors, card, weights, {"system": system})
    return left


def merged(keys: Keys, given: Keys) -> Keys:
    """Return ``keys`` with those of ``given`` in their place, table by table; ``tasks`` is replaced, for its order counts."""
    own = {
        name: merged(known, value) if isinstance(known := keys.get(name), dict) and isinstance(value, dict) else value
        for name, value in given.items()
        if name != "tasks"
    }
    return {**keys, **own, **({"tasks": given["tasks"]} if "tasks" in given else {})}
