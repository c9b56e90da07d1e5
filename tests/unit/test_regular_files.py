"""A path names a regular file of a sensible size, or is refused before anything is read of it."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tensormask_server.classes import class_names
from tensormask_server.images.encoded import read_image
from tensormask_server.model_files.checkpoint import CheckpointError, check_sha256, load_checkpoint
from tensormask_server.network.config import load_config
from tensormask_server.printable import printable
from tensormask_server.regular_files import RefusedFileError, open_regular, read_regular, read_text, write_whole
from tensormask_server.tokens import read_token
from tensormask_server.torchserve.certificate import with_certificate
from tensormask_server.torchserve.properties import PropertiesError, read_properties

from training.annotations import check_images, read_annotations

pytestmark = pytest.mark.attack(12, "pipes, devices and files without end")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A FIFO that ends as soon as somebody reads it, so that a reader is found out and not waited for."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def end_at_once() -> None:
        with path.open("wb"):
            pass

    writer = threading.Thread(target=end_at_once)
    writer.start()
    yield path
    while writer.is_alive():  # where nobody has read
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        writer.join(0.05)


def test_an_error_names_the_type_of_file(tmp_path: Path, pipe: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    (tmp_path / "link").symlink_to("pipe")
    file_types = {
        pipe: "a FIFO",
        tmp_path / "link": "a FIFO",
        tmp_path / "socket": "a socket",
        tmp_path: "a folder",
        Path("/dev/zero"): "a character device",
        Path("/proc/self/environ"): "a file of /proc, made up by the kernel",
        Path("/proc/cpuinfo"): "a file of /proc, made up by the kernel",
    }
    for path, file_type in file_types.items():
        with pytest.raises(RefusedFileError) as caught:
            open_regular(path, 1 << 20)
        assert re.match(rf"it is {file_type}.*; expected a regular file$", caught.value.strerror)
        assert caught.value.filename == str(path)
    listening.close()


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(path, 5) == read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(RefusedFileError, match="it has 5 bytes; expected at most 4"):
        read_regular(path, 4)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 5)


def test_a_sparse_file_of_a_terabyte_takes_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RefusedFileError, match="it has 1099511627776 bytes"):
        read_text(tmp_path / "huge")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfant\r\nbee\r\n")
    assert class_names(2, tmp_path / "names.txt") == ("ant", "bee")
    (tmp_path / "config.properties").write_bytes(b"\xef\xbb\xbfmodels=all\n")
    assert read_properties(tmp_path / "config.properties") == {"models": "all"}
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbfVERSION: 1\n")
    with pytest.raises(ValueError, match="VERSION is 1; supported: 2"):
        load_config(tmp_path / "config.yaml")


READERS: dict[str, Callable[[Path], object]] = {
    "a configuration": load_config,
    "class names": lambda path: class_names(1, path),
    "annotations": read_annotations,
    "an image": read_image,
    "properties": read_properties,
    "a certificate": lambda path: with_certificate({}, path, Path(__file__)),
    "a key": lambda path: with_certificate({}, Path(__file__), path),
    "a token": read_token,
    "pickled weights": load_checkpoint,
    "torch's weights": load_checkpoint,
    "safetensors": load_checkpoint,
}
ENDINGS = {"pickled weights": ".pkl", "torch's weights": ".pth", "safetensors": ".safetensors"}


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_read_is_a_regular_file(name: str, tmp_path: Path, pipe: Path) -> None:
    place = tmp_path / f"file{ENDINGS.get(name, '')}"
    for target, file_type in ((pipe, "a FIFO"), (Path("/dev/null"), "a character device")):
        place.unlink(missing_ok=True)
        place.symlink_to(target)
        with pytest.raises((ValueError, PropertiesError)) as caught:
            READERS[name](place)
        assert f"it is {file_type}" in str(caught.value)
        assert "expected a regular file" in str(caught.value)
        assert str(place) in str(caught.value)


def test_weights_are_no_regular_file_for_their_digits_either(tmp_path: Path, pipe: Path) -> None:
    place = tmp_path / "model_final_e8df31.pkl"
    place.symlink_to(pipe)
    with pytest.raises(CheckpointError, match="it is a FIFO"):
        check_sha256(place)


@pytest.mark.parametrize("name", ["pipe", "a\0b", "x" * 10_000])
def test_images_of_annotations_are_regular_files(name: str, pipe: Path) -> None:
    with pytest.raises(ValueError, match="1 of the annotation file's 1 images are not in") as caught:
        check_images([{"file_name": name}], pipe.parent)
    assert printable(caught.value, 1000) == str(caught.value)


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_file_is_put_in_place_whole_and_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", lambda file: file.write(b"old"))
    write_whole(tmp_path / "file", lambda file: file.write(b"new"))
    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "file", lambda file: file.write(b"half") / 0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_in_the_file_s_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("precious")
    write_whole(tmp_path / "file", lambda file: file.write(b"new"))
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_file_that_cant_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", lambda file: file.write(b"content"))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
