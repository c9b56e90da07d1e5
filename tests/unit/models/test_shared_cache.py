"""Several processes share the cache. Its disk is full, or it holds a planted link, or it is no folder."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tensormask_server.models.cache import Wanted, fetch
from tensormask_server.models.errors import ModelError

from tests.mirror import Answer, Mirror, stalled, without_length
from tests.unit.models.wanted_files import CONTENT, PATH, wanted
from tests.waiting import PATIENCE, wait_for

FETCH = """
import sys
from pathlib import Path
from tensormask_server.models.cache import Wanted, fetch
from tensormask_server.models.errors import ModelError
url, path, sha256 = sys.argv[1:]
try:
    print(fetch(Wanted("the model", url, Path(path), 1 << 21, sha256, "advice")))
except ModelError as error:
    sys.exit(str(error))
"""


def fetching(file: Wanted, *before: str) -> list[str]:
    """The command of a process that fetches the file."""
    return [*before, sys.executable, "-c", FETCH, file.url, str(file.path), file.sha256]


def test_two_processes_download_once(mirror: Mirror, cache: Path, tmp_path: Path) -> None:
    file = wanted(mirror, cache)
    released = threading.Event()

    def held(answer: Answer) -> None:
        released.wait()
        answer.send_file(CONTENT)

    mirror.faults += [held]
    logs = [tmp_path / "1", tmp_path / "2"]
    processes = []
    try:
        for log in logs:
            with log.open("w") as stderr:
                processes.append(subprocess.Popen(fetching(file), stderr=stderr, stdout=subprocess.PIPE, text=True))
        waiting = "another process downloads the model; waiting for it"
        wait_for(lambda: any(waiting in log.read_text() for log in logs), "one of the processes to wait")
    finally:
        released.set()
    for process in processes:
        assert process.communicate(timeout=PATIENCE)[0] == f"{file.path}\n"
        assert process.returncode == 0
    assert len(mirror.requests) == 1


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(mirror: Mirror, cache: Path) -> None:
    file = wanted(mirror, cache)
    released = threading.Event()
    mirror.faults += [stalled(300_000, released)]
    try:
        process = subprocess.Popen(fetching(file), stderr=subprocess.DEVNULL)
        partial = cache / "model.pkl.partial"
        wait_for(lambda: partial.exists() and partial.stat().st_size > 0, "the first bytes")
        process.kill()
        process.wait()
        begun = partial.stat().st_size
        assert fetch(file).read_bytes() == CONTENT
    finally:
        released.set()
    assert mirror.requests[-1] == (PATH, f"bytes={begun}-")


@pytest.mark.parametrize("has_length", [True, False])
def test_a_full_disk_is_said_and_left_with_room(mirror: Mirror, cache: Path, has_length: bool) -> None:
    """In a namespace of its own, where the cache is a file system of 512 kB."""
    file = wanted(mirror, cache)
    cache.mkdir()
    script = f'mount -t tmpfs -o size=512k cache "{cache}" || exit 77\n"$@"\nstatus=$?\nls "{cache}"\nexit $status'
    if not has_length:
        mirror.faults += [without_length]
    command = fetching(file, "unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh")
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("a namespace of one's own isn't allowed here")
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"can't download the model to {cache}: ")
    assert ("it needs 1.0 MB, and 0.5 MB are free" if has_length else "the disk is full") in error
    assert error.endswith("; make room, or let TENSORMASK_CACHE name a folder with room")
    assert result.stdout.split() == ["model.pkl.lock"]


def test_a_cache_that_can_not_be_used_is_said(mirror: Mirror, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(ModelError, match=r"can't use the cache for the model: .*TENSORMASK_CACHE names another folder"):
        fetch(wanted(mirror, cache))


def test_a_planted_link_is_not_followed(mirror: Mirror, cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (cache / "model.pkl.partial").symlink_to(target)
    with pytest.raises(ModelError, match="can't use the cache"):
        fetch(wanted(mirror, cache))
    assert target.read_text() == "mine"
