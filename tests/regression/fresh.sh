#!/bin/sh
# Carry a bundle to a fresh environment: a device's Python with NumPy, pydantic, pytest and the runtime, nothing else. There it is
# verified, packed, unpacked, and judged by tests/regression; a signature is asked for and must not pass in silence.
# usage: tests/regression/fresh.sh BUNDLE [PYTHON [RUNTIME]]     e.g. tests/regression/fresh.sh build/default/intel python3.10
set -eu
bundle=$1 python=${2:-python3.10} runtime=${3:-openvino}
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check --constraint "$root/constraints/device.txt" \
	numpy pydantic pytest "$runtime"
here=$work/env/bin/python
"$here" -V
"$work/env/bin/pip" list --disable-pip-version-check 2>/dev/null | tail -n +3

bundle=$(cd "$bundle" && pwd)
cd "$root"
"$here" -m bundle verify "$bundle"
"$here" -m bundle pack "$bundle" --out "$work/bundle.zip"
"$here" -m bundle unpack "$work/bundle.zip" --out "$work/bundle"
"$here" -m bundle info "$work/bundle"
if "$here" -m bundle verify "$work/bundle" --key "$work/any.pub" 2>"$work/said"; then
	echo "a signature was asked for and passed without the library that checks it" >&2
	exit 1
fi
grep "a signature needs cryptography" "$work/said"
"$here" -c 'import sys, numpy; from pathlib import Path; from bundle.manifest import load_bundle
size = load_bundle(Path(sys.argv[1])).manifest.preprocess
numpy.save(sys.argv[2], numpy.zeros((size.height, size.width, 3), numpy.uint8))' "$work/bundle" "$work/frame.npy"
"$here" -m examples.infer "$work/bundle" "$work/frame.npy" --out "$work/pictures"
"$here" -m pytest -p no:cacheprovider -q tests/regression --bundle "$work/bundle"
"$here" -m bundle verify "$work/bundle"
