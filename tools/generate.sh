#!/bin/sh
# Regenerates the committed gRPC code from proto/, into $1 (default: proto/ itself).
# Usage: tools/generate.sh [OUTPUT_DIRECTORY]; needs the `dev` extra on PATH's python.
set -eu
cd "$(dirname "$0")/.."
out=${1:-proto}
PYTHON=${PYTHON:-python}
bin=$(dirname "$(command -v "$PYTHON")")
googleapis=$("$PYTHON" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("google.rpc").submodule_search_locations[0]).parents[1])')
PATH="$bin:$PATH" "$PYTHON" -m grpc_tools.protoc -Iproto -I"$googleapis" \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
    $(find proto/hivecore -name '*.proto' | sort)
