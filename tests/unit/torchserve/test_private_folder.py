"""Where a server's own folder is made, and what isn't trusted."""

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest
from tensormask_server.torchserve import private_folder
from tensormask_server.torchserve.private_folder import FolderError, PrivateFolder, key_file_of


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(private_folder, "LONGEST", 1000)  # pytest's own folders have long names
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "tensormask-server"


def test_it_is_private_locked_and_goes(state: Path) -> None:
    with PrivateFolder("8081") as folder:
        assert folder == state / "8081"
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(state.stat().st_mode) == 0o700
        (folder / "content").touch()
        assert (folder / private_folder.MARKER).exists()
    assert not folder.exists()


def test_another_server_with_the_same_port_gets_another_one(state: Path) -> None:
    """As in another network namespace with the same home."""
    with PrivateFolder("8081") as one, PrivateFolder("8081") as other:
        assert other == state / f"8081-{os.getpid()}"
        assert one.exists()


def test_what_a_killed_server_left_is_deleted_and_nothing_else(state: Path, tmp_path: Path) -> None:
    for left in ("8081", "9000", "9000-77"):
        (state / left / "tmp").mkdir(parents=True)
        (state / left / private_folder.MARKER).touch()
    for other in ("important", "9001"):  # neither its name alone nor its place alone makes a folder ours
        (state / other).mkdir()
        (state / other / "file").touch()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / private_folder.MARKER).touch()
    (state / "9002").symlink_to(tmp_path / "others")
    state.chmod(0o700)
    with PrivateFolder("8081") as folder:
        assert [path.name for path in folder.iterdir()] == [private_folder.MARKER]
        assert {path.name for path in state.iterdir()} == {"8081", "important", "9001", "9002"}
        assert (state / "important" / "file").exists()
        assert (tmp_path / "others" / private_folder.MARKER).exists()


def test_a_link_in_the_place_of_all_of_them_is_not_followed(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "documents" / "8081").mkdir(parents=True)
    (tmp_path / "documents" / "8081" / private_folder.MARKER).touch()
    state.symlink_to(tmp_path / "documents")
    with PrivateFolder("8081") as folder:
        assert folder.parent == tmp_path
        assert (tmp_path / "documents" / "8081").exists()


def test_a_folder_below_one_that_all_can_write_to_is_not_used(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    state.mkdir(mode=0o700)
    tmp_path.chmod(0o777)
    with PrivateFolder("8081") as folder:
        assert folder.parent == tmp_path / "temporary"
    tmp_path.chmod(0o1777)  # as /tmp is
    with PrivateFolder("8081") as folder:
        assert folder.parent == state


def test_a_held_lock_delays_no_start(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_folder, "WAIT_SECONDS", 0.2)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    state.mkdir(mode=0o755)
    descriptor = os.open(state, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with PrivateFolder("8081") as folder:
        assert folder.parent == tmp_path / "temporary"
    os.close(descriptor)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700  # so that others can't lock it the next time


def test_a_relative_folder_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_folder, "LONGEST", 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", "service")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with PrivateFolder("8081") as folder:
        assert folder == tmp_path / "home" / ".local" / "state" / "tensormask-server" / "8081"


def test_a_link_is_neither_followed_nor_its_target_deleted(state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o700)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").touch()
    (state / "8081").symlink_to(tmp_path / "others")
    with PrivateFolder("8081") as folder:
        assert folder == state / f"8081-{os.getpid()}"
    assert (tmp_path / "others" / "file").exists()


def test_a_folder_that_others_can_write_to_is_not_used(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    state.mkdir(mode=0o700)
    state.chmod(0o777)
    with PrivateFolder("8081") as folder:
        assert folder.parent == tmp_path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.usefixtures("state")
def test_a_service_has_it_in_the_folder_that_systemd_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tmp_path / "service"
    service.mkdir(mode=0o700)
    monkeypatch.setenv("STATE_DIRECTORY", str(service))
    with PrivateFolder("8081") as folder:
        assert folder.parent == service / "tensormask-server"  # whose else is in that folder is another program's
        (folder / "key_file.json").touch()
        assert key_file_of(8081) == folder / "key_file.json"


@pytest.mark.usefixtures("state")
def test_without_any_place_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(FolderError, match=r"Not a directory.*; set XDG_STATE_HOME to a folder that can be written to"):
        PrivateFolder("8081").__enter__()
