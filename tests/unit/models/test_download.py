"""A file comes whole, once and unchanged, or an error says why it doesn't: at a real https server that has faults."""

import hashlib
import socket
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tensormask_server.models.cache import Wanted, fetch
from tensormask_server.models.download import Patience
from tensormask_server.models.errors import ModelError

from tests.mirror import (
    Answer,
    Fault,
    Mirror,
    cut,
    page,
    redirect,
    slow,
    stalled,
    status,
    without_length,
    without_place,
)
from tests.unit.models.wanted_files import CONTENT, PATH, QUICK, SHA256, error_of, wanted


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_downloaded_once_and_checked_from_then_on(mirror: Mirror, cache: Path) -> None:
    file = wanted(mirror, cache)
    assert fetch(file) == file.path
    assert fetch(file).read_bytes() == CONTENT
    assert len(mirror.requests) == 1
    assert names(cache) == {"model.pkl", "model.pkl.sha256", "model.pkl.lock"}
    check = ["sha256sum", "--check", "model.pkl.sha256"]
    assert subprocess.run(check, cwd=cache, capture_output=True, text=True).stdout == "model.pkl: OK\n"


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:6], ""])
def test_a_changed_file_in_the_cache_is_refused(mirror: Mirror, cache: Path, sha256: str) -> None:
    file = wanted(mirror, cache, sha256)
    fetch(file).write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(ModelError, match=f"expected {SHA256[:6]}.*; delete the file to download it again"):
        fetch(file)
    file.path.unlink()
    assert fetch(file).read_bytes() == CONTENT


def test_another_file_of_the_same_first_digits_is_refused_after_the_first_download(mirror: Mirror, cache: Path) -> None:
    file = wanted(mirror, cache, "")
    fetch(file).unlink()
    mirror.files[PATH] = CONTENT + b"another"
    assert "as it was first downloaded, by " in error_of(file)


def test_a_damaged_record_of_the_hash_is_a_wrong_hash(mirror: Mirror, cache: Path) -> None:
    file = wanted(mirror, cache)
    fetch(file)
    (cache / "model.pkl.sha256").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"as it was first downloaded, by .*; delete the file to download it again"):
        fetch(file)


def test_a_host_that_can_not_be_one_is_reported(cache: Path) -> None:
    host = 64 * "a" + ".example"
    error = error_of(Wanted("the model", f"https://{host}/model.pkl", cache / "model.pkl", 1))
    assert f"the connection to {host} failed" in error


def test_a_file_that_a_user_has_put_there_needs_no_network(mirror: Mirror, cache: Path) -> None:
    file = wanted(mirror, cache, SHA256[:6])
    cache.mkdir()
    file.path.write_bytes(CONTENT)
    fetch(file, offline=True)
    assert (cache / "model.pkl.sha256").read_text() == f"{SHA256}  model.pkl\n"
    assert mirror.requests == []


def test_offline_nothing_is_downloaded(mirror: Mirror, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"isn't in the cache .*; fetch it by hand"):
        fetch(wanted(mirror, cache), offline=True)
    assert mirror.requests == []
    assert not cache.exists()


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_broken_connection_is_resumed(
    mirror: Mirror, cache: Path, sha256: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.faults += [cut(100_000), status(503), cut(400_000)]
    assert fetch(wanted(mirror, cache, sha256), patience=QUICK).read_bytes() == CONTENT
    assert [bytes_range for _, bytes_range in mirror.requests] == [None, *["bytes=100000-"] * 2, "bytes=500000-"]
    assert "the connection broke after 100000 of 1024000 bytes; trying again in 0 s" in capsys.readouterr().err


def test_a_file_that_changes_meanwhile_is_downloaded_anew(mirror: Mirror, cache: Path) -> None:
    """Where no hash is known, only the server can say that its file is another one."""

    def changed(answer: Answer) -> None:
        mirror.etag = '"2"'
        mirror.files[PATH] = CONTENT[::-1]
        status(503)(answer)

    mirror.faults += [cut(100_000), changed]
    assert fetch(wanted(mirror, cache, ""), patience=QUICK).read_bytes() == CONTENT[::-1]


def test_without_a_hash_and_a_validator_nothing_is_resumed(mirror: Mirror, cache: Path) -> None:
    mirror.etag = ""
    mirror.faults += [cut(100_000)]
    assert fetch(wanted(mirror, cache, ""), patience=QUICK).read_bytes() == CONTENT
    assert [bytes_range for _, bytes_range in mirror.requests] == [None, None]


def test_a_stopped_download_goes_on_at_the_next_try(mirror: Mirror, cache: Path) -> None:
    mirror.faults += [cut(100_000)]
    assert "the connection broke after 100000" in error_of(wanted(mirror, cache), Patience(waits=()))
    fetch(wanted(mirror, cache))
    assert mirror.requests[-1] == (PATH, "bytes=100000-")


def test_the_rest_of_another_file_is_replaced(mirror: Mirror, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pkl.partial").write_bytes(b"another file's")
    assert fetch(wanted(mirror, cache)).read_bytes() == CONTENT


@pytest.mark.parametrize(("partial", "requests"), [(CONTENT, 1), (CONTENT + b"more", 2)])
def test_nothing_is_behind_the_end_of_a_file(mirror: Mirror, cache: Path, partial: bytes, requests: int) -> None:
    cache.mkdir()
    (cache / "model.pkl.partial").write_bytes(partial)
    assert fetch(wanted(mirror, cache), patience=QUICK).read_bytes() == CONTENT
    assert len(mirror.requests) == requests


def test_a_connection_that_stands_still_is_given_up(mirror: Mirror, cache: Path) -> None:
    released = threading.Event()
    mirror.faults += [stalled(1000, released)]
    try:
        patience = Patience(timeout=0.5, waits=(0, 0, 0, 0, 0, 0, 0, 0))
        assert fetch(wanted(mirror, cache), patience=patience).read_bytes() == CONTENT
    finally:
        released.set()
    assert mirror.requests[-1] == (PATH, "bytes=1000-")


def test_a_slow_server_is_waited_for(mirror: Mirror, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.faults += [slow(parts=10, pause=0.1)]
    assert fetch(wanted(mirror, cache)).read_bytes() == CONTENT
    assert len(mirror.requests) == 1
    assert "the model  1.0 MB in " in capsys.readouterr().err


def test_a_server_that_is_busy_is_asked_again(mirror: Mirror, cache: Path) -> None:
    mirror.faults += [status(429, Retry_After="0"), status(503), status(500)]
    assert fetch(wanted(mirror, cache), patience=QUICK).read_bytes() == CONTENT


def test_a_busy_server_says_how_long_to_wait(mirror: Mirror, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror.faults += [status(503, Retry_After="1")]
    fetch(wanted(mirror, cache), patience=QUICK)
    assert "localhost answers 503 Service Unavailable; trying again in 1 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "said", "requests"),
    [
        (status(404), "localhost answers 404 Not Found", 1),
        (status(403), "localhost answers 403 Forbidden", 1),
        (status(503), "localhost answers 503 Service Unavailable; 4 tries have failed", 4),
        (cut(0), "the connection broke after 0 of 1024000 bytes; 4 tries have failed", 4),
        (page(), "the server sends an HTML page (of an error or a login?)", 1),
        (page("application/octet-stream"), "the server sends an HTML or XML page", 1),
        (redirect("http://localhost/model.pkl"), "redirects to http://localhost/model.pkl, which isn't https", 1),
        (redirect("file:///etc/passwd"), "redirects to file:///etc/passwd, which isn't https", 1),
        (redirect("https://[x/model.pkl"), "redirects to https://[x/model.pkl, which isn't a URL", 1),
        (redirect(PATH), "is one redirect too many; expected at most 10", 10),
        (without_place("bytes 0-99"), "the server sends a part of the file without saying which one", 1),
        (without_place(f"bytes {'1' * 5000}-2/*"), "a part of the file without saying which one", 1),
        (without_place(f"bytes 0-99/{'1' * 5000}"), "a part of the file without saying which one", 1),
        (without_length, "the server doesn't say how long the file is; --sha256 allows it to be checked", 1),
    ],
)
@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_what_can_not_be_downloaded_is_said(
    mirror: Mirror, cache: Path, fault: Fault, said: str, requests: int, sha256: str
) -> None:
    if fault is without_length and sha256:
        return
    mirror.faults += [fault] * requests
    error = error_of(wanted(mirror, cache, sha256))
    assert said in error
    assert error.startswith("can't download the model: ")
    assert error.endswith("; fetch it by hand")
    assert len(mirror.requests) == requests


def test_a_file_of_unknown_length_is_taken_if_its_hash_is_known(mirror: Mirror, cache: Path) -> None:
    mirror.faults += [without_length]
    assert fetch(wanted(mirror, cache)).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_to_https_are_followed(mirror: Mirror, cache: Path, code: int) -> None:
    mirror.faults += [redirect("/elsewhere/x.bin", code)]
    mirror.files["/elsewhere/x.bin"] = CONTENT
    assert fetch(wanted(mirror, cache)).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT[:1000], b"", CONTENT + b"!"])
def test_another_file_is_refused_and_not_kept(mirror: Mirror, cache: Path, content: bytes) -> None:
    mirror.files[PATH] = content
    error = error_of(wanted(mirror, cache))
    assert f"has the SHA-256 {hashlib.sha256(content).hexdigest()}; expected {SHA256}" in error
    assert "nothing of it is kept" in error
    assert names(cache) == {"model.pkl.lock"}


def test_too_large_a_file_is_refused(mirror: Mirror, cache: Path) -> None:
    assert "it has 1024000 bytes; expected at most 1000" in error_of(wanted(mirror, cache, most=1000))
    mirror.faults += [without_length]
    assert "it has more than 1000 bytes" in error_of(wanted(mirror, cache, most=1000))
    assert (cache / "model.pkl.partial").stat().st_size <= 1000


@pytest.mark.parametrize("named", ["", "absent.pem", "model.pkl"])
def test_a_certificate_that_is_not_trusted_is_refused(
    mirror: Mirror, cache: Path, tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pkl").write_bytes(CONTENT)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / named) if named else "")
    if not named:
        monkeypatch.delenv("SSL_CERT_FILE")
    error = error_of(wanted(mirror, cache))
    assert "the certificate of localhost isn't trusted" in error
    assert ("SSL_CERT_FILE names" in error) == bool(named)
    assert mirror.requests == []


def test_a_server_that_can_not_be_reached_is_said_at_once(cache: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    file = Wanted("the model", f"https://127.0.0.1:{port}/model.pkl", cache / "model.pkl", 1 << 21, "", "do this")
    assert error_of(file, Patience()) == "can't download the model: 127.0.0.1 refuses the connection; do this"
    absent = Wanted("the model", "https://nowhere.invalid/model.pkl", cache / "model.pkl", 1 << 21, "", "do this")
    assert "nowhere.invalid has no address here" in error_of(absent, Patience())
