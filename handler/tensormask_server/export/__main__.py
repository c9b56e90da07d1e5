"""The command that writes a network's convolutions for other programs."""

import sys
from collections.abc import Sequence

from tensormask_server.extras import exit_without
from tensormask_server.printable import give_up_unprinted, say

NAME = "python -m tensormask_server.export"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the graph.

    Returns:
        0; 2, with one line on stderr, where there is no graph; 130 after Ctrl-C. If packages of the extra "export" are
        missing, the process ends with status 1 and one line on stderr.
    """
    exit_without("export", NAME)
    try:
        from tensormask_server.export import command  # only here: importing torch takes a second, and Ctrl-C may come

        return command.run(NAME, arguments)
    except KeyboardInterrupt:
        say("export: stopped", sys.stderr)
        return 130
    finally:
        give_up_unprinted()


if __name__ == "__main__":
    sys.exit(main())
