#!/usr/bin/env bash
# On a machine with a GPU, Python and torch: composes the demo's images, trains its network for some minutes, and measures AP.
# It needs no network: copy demo/output/emoji along. Arguments go to `python -m demo.timed_training`: demo/train_gpu.sh --help
set -euo pipefail
python=$(command -v "${PYTHON:-python3}") || { echo "demo/train_gpu.sh: there is no ${PYTHON:-python3}" >&2; exit 2; }
python=$(realpath --no-symlinks "$python")  # of a virtual environment the link is the environment
root=$(realpath "$(dirname "$0")/..")
export PYTHONPATH="$root:$root/handler${PYTHONPATH:+:$PYTHONPATH}"
for module in torch numpy PIL yaml safetensors isal.isal_zlib pycocotools.mask tqdm skimage.data; do
    if ! "$python" -P -c "import $module" 2> /dev/null; then
        echo "demo/train_gpu.sh: $python can't import $module; expected torch, numpy, Pillow, PyYAML, safetensors, isal," \
            "pycocotools, tqdm and scikit-image: install what is missing, add its folder to PYTHONPATH, or name another" \
            "Python: PYTHON=.venv/bin/python demo/train_gpu.sh" >&2
        exit 2
    fi
done
exec "$python" -P -m demo.timed_training "$@"
