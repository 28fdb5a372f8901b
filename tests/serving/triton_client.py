"""Start nvidia-pytriton's server on a repository, ask a model once, write its answers: run by Triton's own environment.

``python triton_client.py REPOSITORY MODEL IMAGE.npy ANSWERS.npz OUTPUT ...``
"""

import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def server(repository: str, ports: dict[str, int]) -> "subprocess.Popen[bytes]":
    """Start tritonserver of the wheel, without its own Python stub's environment."""
    site = Path(sysconfig.get_path("purelib"))
    triton = site / "pytriton" / "tritonserver"
    stub = (
        triton
        / "python_backend_stubs"
        / f"{sys.version_info.major}.{sys.version_info.minor}"
        / "triton_python_backend_stub"
    )
    backend = triton / "backends" / "python"
    target = backend / "triton_python_backend_stub"
    if not target.exists():
        target.symlink_to(stub)
    libraries = [str(triton / "external_libs"), str(site / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(libraries), "PYTHONPATH": str(site)}
    words = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={triton / 'backends'}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        f"--http-port={ports['http']}",
        f"--grpc-port={ports['grpc']}",
        "--allow-metrics=false",
        "--exit-on-error=true",
    ]
    return subprocess.Popen(words, env=environment, stdout=sys.stderr)


def main(repository: str, model: str, image: str, out: str, *outputs: str) -> None:
    """Ask the model once and write its answers."""
    import tritonclient.grpc as grpc

    ports = {"http": free_port(), "grpc": free_port()}
    process = server(repository, ports)
    try:
        client = grpc.InferenceServerClient(f"127.0.0.1:{ports['grpc']}")
        wait(client, model, process)
        pixels = np.load(image)
        given = grpc.InferInput("image", list(pixels.shape), {"uint8": "UINT8", "float32": "FP32"}[str(pixels.dtype)])
        given.set_data_from_numpy(pixels)
        answer = client.infer(model, [given], outputs=[grpc.InferRequestedOutput(name) for name in outputs])
        np.savez(out, **{name: answer.as_numpy(name) for name in outputs})
    finally:
        process.terminate()
        process.wait(30)
    sys.stdout.write(json.dumps({"numpy": np.__version__}) + "\n")


def wait(client: object, model: str, process: "subprocess.Popen[bytes]") -> None:
    """Return when the model is ready; raise if the server ends before."""
    from tritonclient.utils import InferenceServerException

    for _ in range(480):
        if process.poll() is not None:
            raise SystemExit(f"tritonserver ended with {process.returncode}")
        try:
            if client.is_model_ready(model):
                return
        except InferenceServerException:
            pass  # it does not listen yet
        time.sleep(0.5)
    raise SystemExit("the model did not become ready")


if __name__ == "__main__":
    main(*sys.argv[1:])
