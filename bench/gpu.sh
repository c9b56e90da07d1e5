#!/usr/bin/env bash
# On a bare GPU machine with Python and torch: checks the reference's answers on it, and prints the tables of speed.
# Arguments go to `python -m bench.gpu`: bench/gpu.sh --help
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/handler:$PWD/tests"
exec "${PYTHON:-python3}" -m bench.gpu "$@"
