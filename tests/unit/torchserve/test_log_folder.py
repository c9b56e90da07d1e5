"""The folder of a server's logs: no two servers write to the same one."""

import tempfile
from pathlib import Path

import pytest
from tensormask_server.torchserve.log_folder import LogFolderError, log_folder


def test_a_second_server_logs_to_a_folder_of_its_own(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with log_folder(logs, 8081) as one:
        with log_folder(logs, 8091) as two, log_folder(logs, 8101) as three:
            assert (one, two, three) == (logs, logs / "8091", logs / "8101")
        with log_folder(logs, 8091) as again:
            assert again == two
    with log_folder(logs, 8091) as alone:
        assert alone == logs


def test_where_both_folders_are_in_use_another_is_to_be_chosen(tmp_path: Path) -> None:
    with log_folder(tmp_path, 8081), log_folder(tmp_path, 8081), pytest.raises(LogFolderError) as caught:  # noqa: SIM117
        with log_folder(tmp_path, 8081):
            pass
    assert f"other servers write their logs to {tmp_path} and {tmp_path / '8081'}" in str(caught.value)
    assert "choose one with --logs DIR" in str(caught.value)


def test_a_link_to_a_folder_is_one_folder_with_it(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "link").symlink_to("logs")
    with log_folder(tmp_path / "logs", 1), log_folder(tmp_path / "link", 2) as second:
        assert second == tmp_path / "logs" / "2"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with (
        pytest.raises(LogFolderError, match="as the folder of the logs: Not a directory"),
        log_folder(tmp_path / "logs", 1),
    ):
        pass


def test_a_folder_is_shown_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with log_folder(Path("logs"), 1) as folder:
        assert folder == Path("logs")


def test_where_others_can_replace_the_default_folder_it_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with log_folder(None, 8081) as folder:
        assert folder == Path("logs")
    (tmp_path / "here").chmod(0o777)
    with log_folder(None, 8081) as one, log_folder(None, 8091) as two:
        logs = tmp_path / "state" / "tensormask-server" / "logs"
        assert (one, two) == (logs, logs / "8091")
    assert "Logs:  in " + str(logs) in (printed := capsys.readouterr().out)
    assert f"all users can write to {tmp_path / 'here'}" in printed
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "here"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "state"))
    with log_folder(None, 8081) as folder:
        assert folder.parent == tmp_path / "state"
        assert folder.stat().st_mode & 0o777 == 0o700


def test_where_others_can_replace_the_folder_another_is_to_be_chosen(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(LogFolderError) as caught, log_folder(tmp_path / "logs", 1):
        pass
    assert f"all users can write to {tmp_path}; expected a folder of yours that no other user" in str(caught.value)
    assert "choose one with --logs DIR, such as " in str(caught.value)
    assert list(tmp_path.iterdir()) == []
