"""Ends a process when the process that started it ends, even if that is killed. For Linux.

    python -I tied.py PARENT COMMAND…

replaces itself by the command. The kernel ends the command when the process PARENT ends.
"""

import ctypes
import os
import select
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # of prctl(2)


def main() -> None:
    """Replaces this process by the command of its arguments, tied to its parent."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # the parent ended before this call
            sys.exit(1)
    os.execv(command[0], command)


def end_with_parent() -> None:
    """Ends this process at once when its parent has ended.

    A thread waits for that. The kernel's own signal would come as soon as the thread that started this process ends.
    """
    if not hasattr(os, "pidfd_open"):
        return
    parent = os.getppid()
    try:
        descriptor = os.pidfd_open(parent)
    except OSError:  # a kernel before 5.3, or the parent has ended
        return
    if os.getppid() != parent:
        os._exit(1)

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


if __name__ == "__main__":
    main()
