"""What a server does when its files, its disk, its launcher or its neighbours fail or are hostile."""

import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reference.cases import Case
from tests.served.conftest import launched, ready, request_body, starting
from tests.served.test_launcher import assert_one_line, changed, run_launcher
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

ALONE = {"PATH": "", "OMP_NUM_THREADS": "1"}


@pytest.mark.attack(10, "the launcher killed by SIGKILL: Java and the workers end with it")
def test_nothing_outlives_a_killed_launcher(tmp_path: Path, archive: Path) -> None:
    with launched(tmp_path, "--archive", archive, **ALONE) as server:
        assert server.process is not None
        processes = server.processes()
        assert len(processes) == (2 if server.behind_gateway is None else 3)
        server.process.kill()
        assert not psutil.wait_procs(processes, timeout=PATIENCE)[1]
        left = server.private_folder
        assert left.exists()
        # the next server deletes what that one left
        with launched(tmp_path, "--archive", archive, **ALONE, XDG_STATE_HOME=str(server.state)) as other:
            assert not left.exists()
            assert (server.state / "tensormask-server" / str(other.ports[1])).exists()


@pytest.mark.attack(6, "the unpacked model deleted, as by a cleaner of old files")
def test_a_deleted_model_ends_the_server_which_says_so(tmp_path: Path, archive: Path) -> None:
    with launched(tmp_path, "--archive", archive, **ALONE) as server:
        assert server.process is not None
        assert server.process.stdout is not None
        [pid] = server.worker_pids()
        (Path(psutil.Process(pid).cwd()) / "weights.safetensors").unlink()
        assert server.process.wait(timeout=PATIENCE) == 1
        said = server.process.stdout.read()
        assert "a file of the unpacked model was deleted: " in said
        assert "weights.safetensors; start the server again" in said


@pytest.mark.attack(6, "systemd-tmpfiles, which deletes old files of /tmp")
@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd is not installed: its cleaner isn't run")
def test_systemds_cleaner_leaves_a_running_servers_files_alone(tmp_path: Path, archive: Path, case: Case) -> None:
    with launched(tmp_path, "--archive", archive, **ALONE) as server:
        folder = server.private_folder
        before = sorted(folder.rglob("*"))
        for path in before:
            if not path.is_symlink():
                os.utime(path, (0, 0))
        rules = tmp_path / "rules.conf"
        rules.write_text(f"d {server.state} 0700 - - 1s\n")
        subprocess.run(["systemd-tmpfiles", "--clean", str(rules)], check=True)
        assert sorted(folder.rglob("*")) == before
        assert server.post(request_body(case.image)).status == 200
    old = tmp_path / "old"
    (old / "folder").mkdir(parents=True)
    (old / "folder" / "file").touch()
    os.utime(old / "folder" / "file", (0, 0))
    rules.write_text(f"d {old} 0700 - - a:1s m:1s\n")
    subprocess.run(["systemd-tmpfiles", "--clean", str(rules)], check=True)
    assert not (old / "folder" / "file").exists()  # else this shows nothing


NAMES = {
    "my model.mar": "my_model",
    "demo (1).mar": "demo_1",
    "ü.mar": "model",
    "a,b;touch $(x).mar": "a_b_touch_x",
}


@pytest.mark.attack(9, "archives with names that a shell, a URL or TorchServe would misread")
@pytest.mark.parametrize("file_name", NAMES)
def test_an_archive_of_any_name_is_served(tmp_path: Path, archive: Path, case: Case, file_name: str) -> None:
    shutil.copy(archive, tmp_path / file_name)
    with launched(tmp_path, "--archive", file_name, **ALONE) as server:
        assert server.name == NAMES[file_name]
        response = server.post(request_body(case.image, format="coco"))
        assert response.status == 200
        assert json.loads(response.body)["model"] == server.name


@pytest.fixture
def small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root alone")
    with tempfile.TemporaryDirectory(prefix="tm-disk-") as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("a small disk can't be mounted here")
        yield Path(folder)
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.attack(9, "an archive that the disk is too small for")
def test_a_full_disk_is_reported_at_once(
    tmp_path: Path, archive: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(small_disk))
    assert_one_line(run_launcher(tmp_path, "--archive", archive), 1, "free, and the unpacked archive takes")


@pytest.mark.attack(9, "an archive that TorchServe can't read")
def test_an_archive_that_torchserve_can_not_read_is_reported(tmp_path: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        manifest = content.read("MAR-INF/MANIFEST.json")[:-2]
    broken = changed(archive, tmp_path / "broken.mar", "MAR-INF/MANIFEST.json", manifest)
    assert_one_line(run_launcher(tmp_path, "--archive", broken), 1, "couldn't unpack or read the archive")


@pytest.mark.attack(8, "two servers with tokens, started in one folder")
def test_each_server_has_its_own_tokens(tmp_path: Path, archive: Path) -> None:
    options = ("--archive", archive, "-h", "0.0.0.0")
    with launched(tmp_path, *options, **ALONE) as one:
        keys = one.keys()
        with launched(tmp_path, *options, **ALONE, XDG_STATE_HOME=str(one.state)) as two:
            assert (one.state / "tensormask-server" / str(two.ports[1]) / "key_file.json").exists()
        assert one.keys() == keys
        assert one.key_file.stat().st_mode & 0o777 == 0o600
        assert one.private_folder.stat().st_mode & 0o777 == 0o700
    assert not one.key_file.exists()
    assert not (tmp_path / "key_file.json").exists()


@pytest.mark.attack(8, "links planted where the tokens are written")
def test_tokens_are_not_written_through_a_link(tmp_path: Path, archive: Path) -> None:
    """To the folder of the next server, which is known from its management port."""
    (tmp_path / "others").mkdir()
    with tempfile.TemporaryDirectory(prefix="tm-") as state:
        base = Path(state) / "tensormask-server"
        base.mkdir()
        with starting(tmp_path, "--archive", archive, "-h", "0.0.0.0", **ALONE, XDG_STATE_HOME=state) as server:
            (base / str(server.ports[1])).symlink_to(tmp_path / "others")
            ready(server)
            assert list((tmp_path / "others").iterdir()) == []
