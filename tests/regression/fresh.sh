#!/bin/sh
# Carry a bundle to a fresh environment: a device's Python with NumPy, pydantic, pytest and the runtime, nothing else. There are
# two files, the archive and tdss-runtime.pyz. A signature is asked for and must not pass in silence.
# usage: tests/regression/fresh.sh BUNDLE [PYTHON [RUNTIME]]     e.g. tests/regression/fresh.sh build/default/intel python3.10
set -eu
bundle=$1 python=${2:-python3.10} runtime=${3:-openvino}
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${TDSS:-$root/.venv/bin/tdss}" bundle pack "$bundle" --out "$work/device/bundle.zip"
"$python" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check --constraint "$root/constraints/device.txt" \
	numpy pydantic pytest "$runtime"
here=$work/env/bin/python
"$here" -V
"$work/env/bin/pip" list --disable-pip-version-check 2>/dev/null | tail -n +3

cd "$work/device"
sha256sum -c tdss-runtime.pyz.sha256
if "$here" tdss-runtime.pyz judge bundle.zip --key any.pub 2>"$work/refused"; then
	echo "a signature was asked for and passed without the library that checks it" >&2
	exit 1
fi
grep "a signature needs cryptography" "$work/refused"
"$here" tdss-runtime.pyz judge bundle.zip
"$here" tdss-runtime.pyz info bundle
"$here" tdss-runtime.pyz test bundle -q
"$here" tdss-runtime.pyz verify bundle
PYTHONPATH=tdss-runtime.pyz "$here" -c 'import sys, numpy; from pathlib import Path; from bundle.formats.manifest import load_bundle
size = load_bundle(Path(sys.argv[1])).manifest.preprocess
numpy.save(sys.argv[2], numpy.zeros((size.height, size.width, 3), numpy.uint8))' bundle "$work/frame.npy"
cd "$root"
"$here" -m examples.infer "$work/device/bundle" "$work/frame.npy" --out "$work/pictures"
