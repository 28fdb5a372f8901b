"""OpenVINO Model Server: a repository and its config.json, with the judged precision pinned."""

from bundle.base.strict_json import dumps
from serving.offer import Offer, Written, require_ir

HINT = "INFERENCE_PRECISION_HINT"


def write_ovms(one: Offer) -> Written:
    """Return ``config.json`` and ``models/NAME/1/``; the keys are those of the server's own schema (src/schema.cpp).

    Raises:
        InputError: the bundle holds no IR.
    """
    require_ir(one, "ovms")
    name = one.manifest.name
    plugin = {HINT: one.hint, "PERFORMANCE_HINT": "LATENCY"}
    row = {"name": name, "base_path": f"models/{name}", "target_device": one.device, "plugin_config": plugin}
    config = dumps({"model_config_list": [{"config": row}]}, indent=2) + "\n"
    return Written(
        files={"config.json": config, **one.graph_files(f"models/{name}/1/model")},
        runs=f"as judged: {one.judged}; {HINT} pins it on {one.device}",
        notes=(
            "start it in this folder: ovms --config_path config.json --port 9000",
            "its config file has no preprocessing: clients send what the graph takes (classes.json, image)",
        ),
    )
