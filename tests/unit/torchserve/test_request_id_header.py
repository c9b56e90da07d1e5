"""Our copy of the one class of TorchServe, in which its header has another name."""

import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensormask_server.torchserve.request_id_header import CLASS, classes_without_request_id


def test_only_the_name_is_another_one(tmp_path: Path) -> None:
    spec = find_spec("ts")
    assert spec is not None and spec.origin is not None
    jar = Path(spec.origin).parent / "frontend" / "model-server.jar"
    original = zipfile.ZipFile(jar).read(CLASS)
    folder = classes_without_request_id(jar, tmp_path)
    assert folder is not None
    ours = (folder / CLASS).read_bytes()
    assert ours.replace(b"\x00\x17x-torchserve-request-id", b"\x00\x0cx-request-id") == original
    assert ours != original


@pytest.mark.parametrize("content", [None, b"", b"another class", 2 * b"\x01\x00\x0cx-request-id"])
def test_another_torchserve_is_left_as_it_is(content: bytes | None, tmp_path: Path) -> None:
    jar = tmp_path / "model-server.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        if content is not None:
            archive.writestr(CLASS, content)
    assert classes_without_request_id(jar, tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == [jar.name]


def test_a_jar_that_is_none_is_left_as_it_is(tmp_path: Path) -> None:
    assert classes_without_request_id(tmp_path / "absent.jar", tmp_path) is None
    (tmp_path / "text.jar").write_text("text")
    assert classes_without_request_id(tmp_path / "text.jar", tmp_path) is None
