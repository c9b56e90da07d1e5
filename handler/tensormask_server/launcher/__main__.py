"""The entry point of tensormask-server. It reports missing packages before any of them is imported."""

import sys
from collections.abc import Sequence

from tensormask_server.extras import exit_without


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tensormask-server command.

    Args:
        arguments: of the command; None for the process's own.

    Returns:
        The command's exit status. It is 130 if Ctrl-C ends the command before it has begun. If packages of the extra
        "serve" are missing, the process ends with status 1 and one line on stderr.
    """
    exit_without("serve", "tensormask-server")
    try:
        from tensormask_server.launcher import command

        return command.main(arguments)
    except KeyboardInterrupt:  # before the launcher handles it: the imports take a moment
        print("stopped", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
