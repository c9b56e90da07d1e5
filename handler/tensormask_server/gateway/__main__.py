"""The entry point of tensormask-gateway. It reports missing packages before any of them is imported."""

import sys
from collections.abc import Sequence

from tensormask_server.extras import exit_without


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tensormask-gateway command.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The command's exit status. If packages of the extra "gateway" are missing, the process ends with status 1 and
        one line on stderr.
    """
    exit_without("gateway", "tensormask-gateway")
    from tensormask_server.gateway import command

    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
