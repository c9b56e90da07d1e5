"""YAML files and their `_BASE_` files become one mapping, and what is no such file is refused by its name."""

import os
import pickle
from pathlib import Path

import pytest
import yaml
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.config import load_config


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
        (b"A: !!python/object/apply:os.getcwd []\n", "holds Python code"),
        (b"\xff\xfe\x00\x01", "is not plain YAML"),
        (b"[" * 5000, "is not plain YAML"),
        (b"", "is empty: it has 0 bytes; expected a configuration"),
        (b"# nothing\n", "holds nothing; expected a mapping"),
        (b"- A\n", "holds a list; expected a mapping"),
        (b"just text", "holds a str; expected a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"wrong.yaml {complaint}"):
        load_config(path)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['{command}']",
        "!!python/object/apply:subprocess.check_output {{args: ['{command}'], kwds: {{shell: true}}}}",
        "!!python/object/new:os.system ['{command}']",
        '!!python/object/apply:eval [\'__import__("os").system("{command}")\']',
        "{{? !!python/object/apply:os.system ['{command}'] : 1}}",
    ],
)
def test_tags_of_python_run_nothing(tag: str, tmp_path: Path) -> None:
    """Whatever the tag, in the file or in its base; yaml's own unsafe loader shows that each would."""
    mark = tmp_path / "ran"
    text = f"MODEL: {tag.format(command=f'touch {mark}')}\n"
    base = write(tmp_path / "base.yaml", text)
    for path in (base, write(tmp_path / "child.yaml", "_BASE_: base.yaml")):
        with pytest.raises(ConfigError, match=r"base\.yaml holds Python code \(!!python/object/"):
            load_config(path)
    assert not mark.exists()
    yaml.unsafe_load(text)
    assert mark.exists()


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("!!python/name:os.system", r"holds Python code \(!!python/name:os\.system\), which reading would run"),
        ("!!python/module:os", r"holds Python code \(!!python/module:os\)"),
        ("!own 1", "could not determine a constructor for the tag"),
    ],
)
def test_tags_of_no_plain_yaml_are_refused(tag: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(write(tmp_path / "tag.yaml", f"MODEL: {tag}"))


def test_pythons_plain_types_are_read(tmp_path: Path) -> None:
    text = """
    T: !!python/tuple [1, !!python/tuple [a, b]]
    U: !!python/unicode "text"
    N: {i: !!python/int "3", l: !!python/long "4", f: !!python/float "0.5", b: !!python/bool "true"}
    """
    assert load_merged_yaml(write(tmp_path / "tags.yaml", text)) == {
        "T": [1, ["a", "b"]],
        "U": "text",
        "N": {"i": 3, "l": 4, "f": 0.5, "b": True},
    }


class CfgNode(dict):  # type: ignore[type-arg]
    """As yacs's and detectron2's."""


ONES = (1.0, 1.0)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(CfgNode({"MODEL": CfgNode({"MASK_ON": True})}), id="of a CfgNode"),
        pytest.param({"MODEL": CfgNode({"MASK_ON": True})}, id="of a dict of CfgNodes"),
        pytest.param({"RPN": {"W": ONES}, "RETINANET": {"W": ONES}}, id="of plain dicts with detectron2's tuples"),
    ],
)
def test_a_yaml_dump_is_named_with_what_to_write(config: object, tmp_path: Path) -> None:
    path = write(tmp_path / "dump.yaml", yaml.dump(config))
    with pytest.raises(
        ConfigError, match=r"dump\.yaml is what yaml\.dump\(cfg\) writes, .*write the conf.*cfg\.dump\(\)"
    ):
        load_config(path)


LAZY = "from detectron2.config import LazyCall as L\n\nmodel = L(dict)(a=[1], b=dict(c=2))\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lazy.py", LAZY.encode(), r"is Python source, such as a LazyConfig; expected .* as cfg\.dump\(\) writes it"),
        ("renamed.yaml", LAZY.encode(), "is Python source, such as a LazyConfig"),
        ("lazy.yaml", b"model:\n  _target_: detectron2.FPN\n  out_channels: 256\n", "is a LazyConfig, written as YAML"),
        ("page.yaml", b"<!DOCTYPE html>\n<html></html>", "is an HTML page, .*; expected a configuration .*; download"),
        ("lfs.yaml", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("w.pkl", pickle.dumps({"model": {"w": [1.5] * 9}}, 2), "is a pickle of arrays; .* Are -cp and -tp swapped"),
        ("large.pkl", pickle.dumps({"w": [0.5] * 20_000}, 4), "is a pickle of arrays; .* Are -cp and -tp swapped"),
        ("w.pth", b"PK\x03\x04\x00\xff" + bytes(99), "is a torch file; .* Are -cp and -tp swapped"),
        ("w.safetensors", (9).to_bytes(8, "little") + b'{"w": 1  \xff', "is a safetensors file; .* swapped"),
        ("image.yaml", b"\x89PNG\r\n", "is a PNG image; expected a configuration"),
    ],
)
def test_what_is_no_configuration_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} {said}"):
        load_config(tmp_path / name)


def test_bases_that_share_their_bases_are_each_read_once(tmp_path: Path) -> None:
    """Read at each place, 60 files would be 2 to the power of 60."""
    write(tmp_path / "0.yaml", "A: 1")
    for number in range(1, 60):
        write(tmp_path / f"{number}.yaml", f"_BASE_: [{number - 1}.yaml, {number - 1}.yaml]\nB: {number}")
    assert load_merged_yaml(tmp_path / "59.yaml") == {"A": 1, "B": 59}


def test_a_file_has_no_endless_row_of_bases(tmp_path: Path) -> None:
    for number in range(200):
        write(tmp_path / f"{number}.yaml", f"_BASE_: {number + 1}.yaml")
    with pytest.raises(ConfigError, match=r"100\.yaml is one _BASE_ too many; supported: 100 files"):
        load_config(tmp_path / "0.yaml")
    wide = write(tmp_path / "wide.yaml", f"_BASE_: [{', '.join(['leaf.yaml'] * 101)}]")
    with pytest.raises(ConfigError, match=r"wide\.yaml has 101 files; supported: 100"):
        load_config(wide)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml: it is a FIFO \(a pipe\); expected a regular file"):
        load_config(write(tmp_path / "child.yaml", "_BASE_: pipe.yaml"))


def test_aliases_that_stand_for_little_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "aliases.yaml", "A: &a {x: [1, 2]}\nB: *a\nC: {<<: *a, y: 3}")
    assert load_merged_yaml(path) == {"A": {"x": [1, 2]}, "B": {"x": [1, 2]}, "C": {"x": [1, 2], "y": 3}}


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't read .*missing\.yaml: No such file"):
        load_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match=f"can't read .*{tmp_path.name}: it is a folder; expected"):
        load_config(tmp_path)
