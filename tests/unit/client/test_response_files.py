"""The folder command at hostile folders: links, names and files among its responses that were put there beforehand."""

import json
import os
import stat
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tensormask_server.client.__main__ import main
from tensormask_server.client.response_files import LARGEST_SMALL_FILE, files_below, fitting, write_inside

pytestmark = pytest.mark.attack(13, "hostile links and names in folders of images and responses")

DEPTH = 1500  # folders in one another
RESPONSE = b'{"instances": []}'


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(RESPONSE)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/predictions/x"
        server.shutdown()
        thread.join()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(b"one")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(images: Path, out: Path, url: str) -> int:
    return main([str(images), "--out", str(out), "--url", url])


def written(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


def test_links_to_themselves_and_to_nothing_get_an_error_and_stop_nothing(
    images: Path, out: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "itself.jpg").symlink_to("itself.jpg")
    (images / "round.jpg").symlink_to("and-round.jpg")
    (images / "and-round.jpg").symlink_to("round.jpg")
    (images / "gone.jpg").symlink_to("nowhere")
    (images / "long.jpg").symlink_to("x" * 300)
    (images / "folder").symlink_to(".")
    (images / "above").symlink_to("..")
    (images / "zeros.jpg").symlink_to("/dev/zero")
    os.mkfifo(images / "pipe.jpg")
    assert run(images, out, url) == 1
    printed = capsys.readouterr().err
    for name in ("itself", "round", "and-round", "gone", "long"):
        assert f"{name}.jpg: can't read" in printed
    assert "5 of 6 images got no response" in printed
    assert written(out) == {".asked.json", "one.jpg.json"}


def test_images_with_names_of_any_length_get_a_response_that_is_found_again(images: Path, out: Path, url: str) -> None:
    names = ["a" * 246 + ".jpg", "a" * 245 + "b.jpg", "é" * 123 + ".jpg", "a" * 251 + ".jpg", "a" * 240 + ".jpg"]
    for name in names:
        (images / name).write_bytes(b"image")
    assert run(images, out, url) == 0
    files = written(out)
    assert len(files) == len(names) + 2
    assert names[-1] + ".json" in files
    assert all(len(os.fsencode(name)) <= 255 for name in files)
    times = {name: (out / name).stat().st_mtime_ns for name in files}
    assert run(images, out, url) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in written(out)} == times


def test_images_with_control_characters_in_their_names_get_a_response_and_are_shown_escaped(
    images: Path, out: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "\x1b[2J\n.jpg").write_bytes(b"")
    (images / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"image")
    assert run(images, out, url) == 1
    printed = capsys.readouterr().err
    assert r"\x1b[2J\n.jpg: the image is empty" in printed
    assert "\x1b[2J\n" not in printed
    assert (out / os.fsdecode(b"\xff\xfe.jpg.json")).read_bytes() == RESPONSE


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'"x"', b"null", b"[" * 60_000, b"\xff", b"9" * 60_000, b" " * 2 * LARGEST_SMALL_FILE],
)
def test_a_damaged_note_of_the_options_is_reported(
    images: Path, out: Path, url: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / ".asked.json").write_bytes(content)
    assert run(images, out, url) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert ".asked.json is damaged or can't be read; name another --out, or delete it to go on here" in line


@pytest.mark.parametrize("in_place", ["folder", "pipe", "link", "endless link"])
def test_a_note_of_the_options_that_is_no_file_is_reported(
    images: Path, out: Path, url: str, in_place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    note = out / ".asked.json"
    if in_place == "folder":
        note.mkdir()
    elif in_place == "pipe":
        os.mkfifo(note)
    else:
        note.symlink_to("/dev/zero" if in_place == "endless link" else images / "one.jpg")
    assert run(images, out, url) == 2
    assert ".asked.json is damaged or can't be read" in capsys.readouterr().err


def test_what_the_note_says_is_shown_in_one_short_line(
    images: Path, out: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / ".asked.json").write_text(json.dumps({"url": "\x1b[2J\n" * 1000}))
    assert run(images, out, url) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert len(line) < 1100


def test_a_planted_link_is_replaced_and_not_written_through(images: Path, out: Path, url: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious")
    out.mkdir()
    (out / "one.jpg.json").symlink_to(mine)
    assert run(images, out, url) == 0
    assert mine.read_text() == "precious"
    assert (out / "one.jpg.json").read_bytes() == RESPONSE
    assert not (out / "one.jpg.json").is_symlink()


def test_a_planted_folder_leads_no_response_out_of_the_folder_of_responses(
    images: Path, out: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "more").mkdir()
    (images / "one.jpg").rename(images / "more" / "one.jpg")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "more").symlink_to(elsewhere)
    assert run(images, out, url) == 2
    assert f"a link leads out of {out}; remove it, or name another --out" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_the_folder_of_responses_may_be_a_link_itself(images: Path, out: Path, url: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    out.symlink_to(tmp_path / "real")
    assert run(images, out, url) == 0
    assert (tmp_path / "real" / "one.jpg.json").read_bytes() == RESPONSE


def test_responses_have_the_mode_that_the_user_gives_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_inside(tmp_path, tmp_path / "a" / "b", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o640
    assert [path.name for path in files_below(tmp_path)] == ["b"]


def test_what_can_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError):
        write_inside(tmp_path, tmp_path / "b", b"content")
    assert [path.name for path in files_below(tmp_path)] == []


def test_folders_in_one_another_may_be_thousands(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"")
    folders = [os.open(tmp_path, os.O_RDONLY)]
    try:
        for _ in range(DEPTH):
            os.mkdir("d", dir_fd=folders[-1])
            folders.append(os.open("d", os.O_RDONLY, dir_fd=folders[-1]))
            if len(folders) > 2:
                os.close(folders.pop(0))
        assert [path.name for path in files_below(tmp_path)] == ["x.jpg"]
    finally:  # pytest's own removal is a recursion
        here = folders[-1]
        for _ in range(DEPTH):
            above = os.open("..", os.O_RDONLY, dir_fd=here)
            os.rmdir("d", dir_fd=above)
            os.close(here)
            here = above
        os.close(here)


def test_short_names_stay_and_long_ones_differ() -> None:
    assert fitting("a.jpg", ".json") == "a.jpg.json"
    long = {fitting("a" * 250 + end, ".json") for end in ("b", "c", "bb")}
    assert len(long) == 3
    assert all(len(name) == 255 and name.endswith(".json") for name in long)


def test_without_tqdm_a_run_with_nothing_left_to_do_says_so(
    images: Path, out: Path, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert run(images, out, url) == 0
    assert capsys.readouterr().err == "\r0 of 1 images\r1 of 1 images\n"
    assert run(images, out, url) == 0
    assert capsys.readouterr().err == "\r1 of 1 images\n"
