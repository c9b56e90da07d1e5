"""TorchServe's settings, as `tensormask-server` has them, for TorchServe's own command:

python -m tensormask_server.config_properties > config.properties
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server.printable import give_up_unprinted, say

_IN_WHEEL = Path(__file__).parent / "config.properties"
# a clone has the file at its top
PROPERTIES = _IN_WHEEL if _IN_WHEEL.is_file() else Path(__file__).parents[2] / "config.properties"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints config.properties and returns 0."""
    argparse.ArgumentParser(
        prog="python -m tensormask_server.config_properties",
        description="Prints TorchServe's settings for a config.properties: torchserve --ts-config config.properties.",
    ).parse_args(arguments)
    say(PROPERTIES.read_text(encoding="utf-8").removesuffix("\n"))
    give_up_unprinted()
    return 0


if __name__ == "__main__":
    sys.exit(main())
