#!/usr/bin/env bash
# On a bare GPU machine with Python and torch: compares the network's detections with the reference's, and prints the tables of speed.
# Arguments go to `python -m bench.gpu`: bench/gpu.sh --help
set -euo pipefail
python=$(command -v "${PYTHON:-python3}") || { echo "bench/gpu.sh: there is no ${PYTHON:-python3}" >&2; exit 2; }
python=$(realpath --no-symlinks "$python")  # of a virtual environment the link is the environment
cd "$(dirname "$0")/.."
if ! "$python" -P -c 'import torch, numpy, PIL, yaml, safetensors' 2> /dev/null; then
    echo "bench/gpu.sh: $python has not all of torch, numpy, Pillow, PyYAML and safetensors;" \
        "name another: PYTHON=.venv/bin/python bench/gpu.sh" >&2
    exit 2
fi
export PYTHONPATH="$PWD:$PWD/handler${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -P -m bench.gpu "$@"
