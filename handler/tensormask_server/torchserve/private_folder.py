"""The private folder of one running server: its settings, tokens, sockets and the unpacked model.

No other user can reach it. It is in the user's state folder, because some systems delete old temporary files.
"""

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tensormask_server.torchserve.folder_lock import lock, locked
from tensormask_server.torchserve.trusted_folders import check_parent

NAME = "tensormask-server"
KEY_FILE = "key_file.json"  # TorchServe's name for its tokens; it writes them to the folder that it runs in
MARKER = ".tensormask-server"  # a file in each of these folders; a folder without it isn't deleted
OWN_NAMES = re.compile(r"[0-9]+(-[0-9]+)?")  # a port, and a process's number
WAIT_SECONDS = 30  # for a server that starts at the same time
LONGEST = 80  # bytes of a path: sockets are made below it, and the path of a Unix socket has at most 107 bytes


class FolderError(Exception):
    """No private folder can be made. The message has one line."""


class PrivateFolder:
    """A folder of mode 700 that exists, and is locked, while it is used as a context manager.

    A killed server leaves its folder without a lock. The next server finds it so, and deletes it. systemd-tmpfiles,
    which deletes old files, doesn't touch locked folders.
    """

    def __init__(self, name: str):
        """
        Args:
            name: of the folder. If another running server has a folder of this name, the process's number is added.
        """
        self._name = name

    def __enter__(self) -> Path:
        """Makes and locks the folder.

        Returns:
            The folder's path.

        Raises:
            FolderError: no place for the folder can be written to.
        """
        reasons = []
        for base in state_folders():
            try:
                self.path = self._made_in(base)
                return self.path
            except (OSError, FolderError) as error:
                reasons.append(f"{base}: {getattr(error, 'strerror', None) or error}")
        try:
            self.path = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
        except OSError as error:
            reasons.append(f"{tempfile.gettempdir()}: {error.strerror}")
            raise FolderError(
                f"can't make a folder for the server ({'; '.join(reasons)}); set XDG_STATE_HOME to a folder that can "
                "be written to"
            ) from error
        self._lock = locked(self.path)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _made_in(self, base: Path) -> Path:
        if len(os.fsencode(base)) > LONGEST:
            raise FolderError(f"its path has more than {LONGEST} bytes")
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        for parent in base.parents:
            check_parent(parent)
        base_lock = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            status = os.fstat(base_lock)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
                raise FolderError("other users can write to it")
            os.fchmod(base_lock, 0o700)  # a user who can't open it can't lock it
            lock(base_lock, WAIT_SECONDS)
            _delete_left_over(base)
            for name in (self._name, f"{self._name}-{os.getpid()}"):
                path = base / name
                with contextlib.suppress(FileExistsError):
                    path.mkdir(mode=0o700)
                    self._lock = locked(path)
                    (path / MARKER).touch()
                    return path
        finally:
            os.close(base_lock)
        raise FolderError(f"{self._name} is there already")


def key_file_of(management_port: int) -> Path:
    """The file with the tokens of this user's server on this management port. It exists while the server runs."""
    for base in state_folders():
        path = base / str(management_port) / KEY_FILE
        if path.exists():
            return path
    return Path(KEY_FILE)  # of TorchServe's own command, started in this folder


def state_folders() -> Iterator[Path]:
    """The folders in which this user's programs keep their state, the best first. None of them may exist."""
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # set by systemd, for StateDirectory=
    if Path(service).is_absolute():
        yield Path(service) / NAME
    home = Path(os.environ.get("XDG_STATE_HOME", ""))  # a relative one doesn't count, as its specification says
    with contextlib.suppress(RuntimeError):  # this user has no home
        yield (home if home.is_absolute() else Path.home() / ".local" / "state") / NAME


def _delete_left_over(base: Path) -> None:
    """Deletes the folders that killed servers left. All other files and folders stay."""
    for path in base.iterdir():
        if OWN_NAMES.fullmatch(path.name) and not path.is_symlink() and (path / MARKER).is_file():
            with contextlib.suppress(OSError):  # locked: its server runs
                descriptor = locked(path)
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)
