"""Which folders no other user can replace, and what may lead to them."""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

import pytest
from tensormask_server.torchserve.trusted_folders import check_parent, trusted_folder

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can give a file to another user")


def refused(path: Path) -> str:
    """Why it isn't trusted."""
    with pytest.raises(OSError, match=r".") as caught:
        trusted_folder(path)
    return str(caught.value.strerror)


def test_a_folder_is_made_so_that_only_its_owner_can_write_to_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert trusted_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    finally:
        os.umask(old)
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert trusted_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"


def test_links_and_parents_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "short").symlink_to("a/b")
    (tmp_path / "whole").symlink_to(tmp_path / "short")
    monkeypatch.chdir(tmp_path / "a")
    for path in ("b", "../short", "../whole", "b/../b", "../whole/../b", str(tmp_path / "whole")):
        assert trusted_folder(Path(path)) == tmp_path / "a" / "b"
    (tmp_path / "round").symlink_to("round")
    assert refused(tmp_path / "round") == os.strerror(errno.ELOOP)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777])
def test_a_folder_that_all_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """A link could be planted for each file of known name, and in a sticky folder as well."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(mode)
    assert refused(tmp_path / "a") == f"all users can write to {tmp_path / 'a'}"


def test_below_a_folder_that_all_can_write_to_it_has_to_be_sticky(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a").chmod(0o777)
    for name in ("b", "new", "b/new", "new/new"):
        assert refused(tmp_path / "a" / name) == f"all users can write to {tmp_path / 'a'}"
    assert {each.name for each in (tmp_path / "a").rglob("*")} == {"b"}
    (tmp_path / "a").chmod(0o1777)
    for name in ("b", "new"):
        assert trusted_folder(tmp_path / "a" / name) == tmp_path / "a" / name


def test_the_folder_of_temporary_files_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod of Kubernetes, the volume at /tmp is root's and has the mode 777."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o777)
    assert trusted_folder(tmp_path / "tmp" / "logs") == tmp_path / "tmp" / "logs"
    assert refused(tmp_path / "tmp") == f"all users can write to {tmp_path / 'tmp'}"


@as_root
def test_nothing_on_the_way_may_be_another_users(tmp_path: Path) -> None:
    (tmp_path / "theirs" / "mine").mkdir(parents=True)
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    for name in ("theirs", "theirs/mine", "theirs/new", "theirs/mine/../../new"):
        assert refused(tmp_path / name).startswith(f"{tmp_path / 'theirs'} belongs to another user, ")
    assert {each.name for each in tmp_path.rglob("*")} == {"theirs", "mine"}


@as_root
def test_no_link_on_the_way_may_be_another_users(tmp_path: Path) -> None:
    """Also where a link of this user's leads to theirs, in a folder that is sticky."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "shared" / "theirs").symlink_to(tmp_path / "mine")
    os.chown(tmp_path / "shared" / "theirs", NOBODY, NOBODY, follow_symlinks=False)
    (tmp_path / "link").symlink_to("shared/theirs/logs")
    for path in (tmp_path / "shared" / "theirs", tmp_path / "shared" / "theirs" / "logs", tmp_path / "link"):
        assert refused(path).startswith(f"the link {tmp_path / 'shared' / 'theirs'} belongs to another user, ")
    assert list((tmp_path / "mine").iterdir()) == []


@as_root
def test_a_group_may_write_only_if_it_is_this_users_own_or_the_folder_is_roots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tmp_path, NOBODY, 1)
    tmp_path.chmod(0o775)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with pytest.raises(PermissionError, match=f"can write to {tmp_path}"):
        check_parent(tmp_path)
    tmp_path.chmod(0o1775)
    check_parent(tmp_path)
    tmp_path.chmod(0o775)
    os.chown(tmp_path, 0, 1)  # as /var/log of Ubuntu, which is root's and syslog's
    check_parent(tmp_path)
    os.chown(tmp_path, NOBODY, 0)  # as of a container whose user is in root's group
    check_parent(tmp_path)


@as_root
def test_the_group_that_has_only_this_user_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each user has a group, new folders may have the mode 775."""
    groups = {group.gr_gid: group for group in grp.getgrall()}
    user = next(
        each
        for each in pwd.getpwall()
        if each.pw_uid and each.pw_gid in groups and groups[each.pw_gid][::3] == (each.pw_name, [])
    )
    os.chown(tmp_path, user.pw_uid, user.pw_gid)
    tmp_path.chmod(0o775)
    monkeypatch.setattr(os, "geteuid", lambda: user.pw_uid)
    check_parent(tmp_path)
    os.chown(tmp_path, user.pw_uid, 1234567)
    with pytest.raises(PermissionError, match="the group 1234567 can write to"):
        check_parent(tmp_path)
