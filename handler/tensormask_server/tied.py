"""Processes that end with the one that started them, however that ends: for Linux.

    python -I tied.py PARENT COMMAND…

runs the command in its own place, and the kernel ends it when the process PARENT ends.
"""

import ctypes
import os
import select
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1  # of prctl(2)


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):  # it has ended before the kernel was told
            sys.exit(1)
    os.execv(command[0], command)


def end_with_parent() -> None:
    """Ends this process, at once, when its parent has ended.

    A thread waits for it. The kernel's own signal would also come when only the parent's thread ends that started us.
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
