"""YAML files and their `_BASE_` files become one mapping, and what is no such file is refused by its name."""

from pathlib import Path

import pytest
from tensormask_server.config import load_config
from tensormask_server.detectron2_yaml import ConfigError, load_merged_yaml


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_child_wins_key_by_key_and_keeps_the_rest(tmp_path: Path) -> None:
    write(tmp_path / "root.yaml", "A: {x: 1, y: {p: 1, q: 1}, z: 1}\nL: [1, 2]\nS: 1\nM: {x: 1}\n")
    write(tmp_path / "deeper" / "middle.yaml", "_BASE_: ../root.yaml\nA: {y: {q: 2}, z: 2}\nS: {now: mapping}\n")
    child = write(tmp_path / "child.yaml", "_BASE_: deeper/middle.yaml\nA: {z: 3, new: 3}\nL: [3]\nM: scalar\n")
    assert load_merged_yaml(child) == {
        "A": {"x": 1, "y": {"p": 1, "q": 2}, "z": 3, "new": 3},
        "L": [3],
        "S": {"now": "mapping"},
        "M": "scalar",
    }


def test_of_several_bases_the_later_wins(tmp_path: Path) -> None:
    write(tmp_path / "one.yaml", "A: {x: 1, y: 1, z: 1}")
    write(tmp_path / "two.yaml", "A: {y: 2, z: 2}")
    child = write(tmp_path / "child.yaml", "_BASE_: [one.yaml, two.yaml]\nA: {z: 3}")
    assert load_merged_yaml(child) == {"A": {"x": 1, "y": 2, "z": 3}}


def test_a_base_may_be_absolute_and_may_be_reached_twice(tmp_path: Path) -> None:
    root = write(tmp_path / "root.yaml", "A: 1")
    write(tmp_path / "one.yaml", "_BASE_: root.yaml")
    child = write(tmp_path / "child.yaml", f"_BASE_: ['{root}', one.yaml]")
    assert load_merged_yaml(child) == {"A": 1}


def test_a_circle_of_bases_is_refused_with_its_files(tmp_path: Path) -> None:
    one = write(tmp_path / "one.yaml", "_BASE_: two.yaml")
    two = write(tmp_path / "two.yaml", "_BASE_: ./one.yaml")
    with pytest.raises(ConfigError, match="circle") as caught:
        load_config(one)
    assert str(caught.value).endswith(f"{one} -> {two} -> {one}")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(ConfigError, match=r"can't read the configuration .*loop\.yaml"):
        load_config(tmp_path / "loop.yaml")


@pytest.mark.parametrize("base", ["3", "null", "[3]", "https://example.com/base.yaml"])
def test_a_base_that_is_no_local_file_is_refused(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"_BASE_ in .*child\.yaml is .*; supported: the path of a local file"):
        load_config(write(tmp_path / "child.yaml", f"_BASE_: {base}"))


@pytest.mark.parametrize(
    "base",
    [
        pytest.param("gone.yaml", id="not there"),
        pytest.param("child.yaml/base.yaml", id="in a file as if it were a folder"),
        pytest.param('"a\\0b.yaml"', id="not a file name"),
        pytest.param("~nobody-of-that-name/base.yaml", id="in the home of nobody"),
    ],
)
def test_a_base_that_cant_be_read_is_a_config_error(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(write(tmp_path / "child.yaml", f"_BASE_: {base}"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"A: [1", "is not plain YAML"),
        (b"A: 1\n---\nB: 2\n", "is not plain YAML"),
        (b"A: !!python/object/apply:os.getcwd []\n", "is not plain YAML"),
        (b"\xff\xfe\x00\x01", "is not plain YAML"),
        (b"[" * 5000, "is not plain YAML"),
        (b"", "holds nothing; expected a mapping"),
        (b"- A\n", "holds a list; expected a mapping"),
        (b"just text", "holds a str; expected a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"wrong.yaml {complaint}"):
        load_config(path)


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*missing\.yaml: No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match=f"can't read .*{tmp_path.name}: Is a directory"):
        load_config(tmp_path)
