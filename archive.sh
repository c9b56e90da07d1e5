#!/bin/sh
# Packs a detectron2 TensorMask configuration and its weights as model_store/NAME.mar. Try: ./archive.sh --help
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
# -P: modules come from where they are installed, and not from the folder that this is started from
exec "$python" -P -m tensormask_server.archive --output "$here/model_store" "$@"
