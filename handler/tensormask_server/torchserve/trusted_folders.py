"""Folders whose files no other user can replace. What is written to any other one can be led elsewhere, by a link."""

import contextlib
import errno
import grp
import os
import pwd
import stat
from pathlib import Path

from tensormask_server.printable import printable

MOST_LINKS = 40  # that a path may lead through, as for Linux


def trusted_folder(path: Path) -> Path:
    """Finds the folder that a path names, and makes it if it isn't there.

    No other user can change where the path leads, as each folder and each link on the way is checked. The folder for
    temporary files is taken as it is: in a pod of Kubernetes it may be a volume in which all users can replace files,
    though there are no others.

    Args:
        path: of the folder.

    Returns:
        Its absolute path without links.

    Raises:
        OSError: the folder can't be found or made, or another user can lead the path elsewhere, or put files into the
            folder. `strerror` says which.
    """
    temporary = Path(os.environ.get("TMPDIR") or "/tmp").resolve()
    found, *rest = (Path(part) for part in path.absolute().parts)
    links = 0
    while rest:
        part = rest.pop(0)
        if part == Path(".."):
            found = found.parent
            continue
        if found != temporary:
            check_parent(found)
        entry = found / part
        try:
            status = entry.lstat()
        except FileNotFoundError:
            entry.mkdir(mode=0o755, exist_ok=True)  # another server may make it now
            status = entry.lstat()
        if not stat.S_ISLNK(status.st_mode):
            found = entry
            continue
        _check_owner(f"the link {printable(entry)}", status)
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = entry.readlink()
        if target.is_absolute():
            found = Path(target.anchor)
        rest = [Path(each) for each in target.relative_to(target.anchor).parts] + rest
    status = found.stat()
    _check_owner(printable(found), status)
    _check_writers(found, status)  # also if it is sticky: others could put links into it
    return found


def check_parent(folder: Path) -> None:
    """Checks that no other user can replace what this user has in a folder.

    A group that root lets write to a folder is trusted like root. On Ubuntu, /var/log is such a folder.

    Raises:
        OSError: a user other than root and this one owns the folder, or others can write to it, and it isn't sticky as
            /tmp is. `strerror` names the folder. Or there is no such folder.
    """
    status = folder.stat()
    _check_owner(printable(folder), status)
    if not status.st_mode & stat.S_ISVTX:
        _check_writers(folder, status)


def _check_writers(folder: Path, status: os.stat_result) -> None:
    """
    Raises:
        OSError: users who aren't trusted can write to the folder.
    """
    if status.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, f"all users can write to {printable(folder)}")
    if status.st_mode & stat.S_IWGRP and not _is_roots(status) and not _has_only_this_user(status.st_gid):
        raise OSError(errno.EPERM, f"the group {_group(status.st_gid)} can write to {printable(folder)}")


def _check_owner(name: str, status: os.stat_result) -> None:
    """
    Raises:
        OSError: another user, who isn't trusted, owns what has this name.
    """
    if status.st_uid != os.geteuid() and not _is_roots(status):
        raise OSError(errno.EPERM, f"{name} belongs to another user, {_user(status.st_uid)}")


def _is_roots(status: os.stat_result) -> bool:
    """Whether root owns it. In a user namespace, root outside it has another number, and owns /."""
    return status.st_uid in (0, Path("/").stat().st_uid)


def _has_only_this_user(number: int) -> bool:
    """Whether a group is root's, or the one that some systems make for each user, with the user's name.

    In a container neither may have a name. Then it is the group with the user's number.
    """
    if number == 0:
        return True
    user = group = None
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.geteuid())
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(number)
    if user is None or group is None:
        return user is None and group is None and number == os.geteuid() == os.getegid()
    return group.gr_name == user.pw_name and user.pw_gid == number and {*group.gr_mem} <= {user.pw_name}


def _user(number: int) -> str:
    try:
        return printable(pwd.getpwuid(number).pw_name)
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return printable(grp.getgrgid(number).gr_name)
    except KeyError:
        return str(number)
