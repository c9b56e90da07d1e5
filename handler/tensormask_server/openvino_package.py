"""OpenVINO's package, imported without its telemetry."""

import importlib
import sys
from types import ModuleType


class OpenVinoError(ValueError):
    """OpenVINO isn't installed, or can't do what is asked of it. The message is one line."""


def openvino() -> ModuleType:
    """Imports OpenVINO.

    The package reports each import of it to its makers over the Internet, unless openvino_telemetry is missing. So
    that module is made unimportable in this process first.

    Raises:
        OpenVinoError: it isn't installed, or doesn't load.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to say: not here
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        install = "pip install 'tensormask-segmentation-server[openvino]' brings it"
        raise OpenVinoError(f"the engine openvino can't be used: {error}; {install}") from error
