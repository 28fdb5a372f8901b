"""The one switch that turns off the telemetry of the libraries that this project runs.

OpenVINO and NNCF report their use through the package ``openvino_telemetry``. Its only switch is a file in the user's
home. Both work without the package where it cannot be imported. ONNX Runtime reads an environment variable.
Both changes are this process's and, the second, its children's; nothing is written.
"""

import os
import sys

ONNX_RUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"
OPENVINO_PACKAGE = "openvino_telemetry"


def switch_off_telemetry() -> None:
    """Turn telemetry off in this process: call it before each import of openvino, nncf, onnxruntime or what imports them."""
    os.environ[ONNX_RUNTIME_SWITCH] = "1"
    sys.modules[OPENVINO_PACKAGE] = None  # type: ignore[assignment]  # Python then refuses to import it
