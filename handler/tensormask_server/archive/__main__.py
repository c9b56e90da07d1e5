"""The command that archive.sh runs."""

import sys
from collections.abc import Sequence

from tensormask_server.extras import exit_without
from tensormask_server.printable import give_up_unprinted, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes an archive and prints what is in it.

    Returns:
        0; 2, with one line on stderr, where there is no archive; 130 after Ctrl-C. If packages of the extra "serve" are
        missing, the process ends with status 1 and one line on stderr.
    """
    exit_without("serve", "archive.sh")
    try:
        from tensormask_server.archive import command  # only here: importing torch takes a second, and Ctrl-C may come

        return command.run(arguments)
    except KeyboardInterrupt:
        say("archive.sh: stopped", sys.stderr)
        return 130
    finally:
        give_up_unprinted()


if __name__ == "__main__":
    sys.exit(main())
