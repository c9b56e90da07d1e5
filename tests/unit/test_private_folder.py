"""Where a server's own folder is made, and what isn't trusted."""

import os
import stat
from pathlib import Path

import pytest
from tensormask_server import private_folder
from tensormask_server.private_folder import FolderError, PrivateFolder, key_file_of


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
    assert not folder.exists()


def test_another_server_with_the_same_port_gets_another_one(state: Path) -> None:
    """As in another network namespace with the same home."""
    with PrivateFolder("8081") as one, PrivateFolder("8081") as other:
        assert other == state / f"8081-{os.getpid()}"
        assert one.exists()


def test_what_a_killed_server_left_is_deleted(state: Path) -> None:
    (state / "8081").mkdir(parents=True)
    (state / "8081" / "key_file.json").touch()
    (state / "9000").mkdir()
    state.chmod(0o700)
    with PrivateFolder("8081") as folder:
        assert list(folder.iterdir()) == []
        assert not (state / "9000").exists()


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
    monkeypatch.setattr(private_folder.tempfile, "tempdir", None)
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
        assert folder.parent == service
        (folder / "key_file.json").touch()
        assert key_file_of(8081) == folder / "key_file.json"


@pytest.mark.usefixtures("state")
def test_without_any_place_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(private_folder.tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(FolderError, match=r"Not a directory.*; set XDG_STATE_HOME to a folder that can be written to"):
        PrivateFolder("8081").__enter__()
