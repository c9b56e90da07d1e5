"""Committed tables: a folder for each CPU, a section for each table, and what a cut measurement leaves."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import machine
from bench.results import RESULTS, folder_of_this_cpu, publish, with_section
from bench.tables import Table, growing_milliseconds


def growing(rows: int, cut: bool = False) -> Iterator[Table]:
    table = Table("speed", "The speed", ("what", "ms"), "of nothing")
    for number in range(rows):
        table.rows.append((f"row {number}", 10.0 + number))
        yield table
    if cut:
        raise KeyboardInterrupt


def rows_in(folder: Path) -> list[list[str]]:
    with (folder / "speed.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_a_measurement_that_is_cut_off_leaves_its_rows(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        publish(growing(2, cut=True), tmp_path)
    folder = folder_of_this_cpu(tmp_path)
    assert rows_in(folder) == [["what", "ms"], ["row 0", "10.0"], ["row 1", "11.0"]]
    page = (folder / "README.md").read_text()
    assert page.startswith(f"# Measured on {machine.cpu()}\n")
    assert "## The speed\n\nof nothing; " in page
    assert "| row 1 | 11 |" in page


def test_a_table_replaces_its_earlier_section_only(tmp_path: Path) -> None:
    publish(growing(3), tmp_path)
    publish(Table("other", "Another", ("what",), "of nothing", [("kept",)]), tmp_path)
    publish(growing(1), tmp_path)
    page = (folder_of_this_cpu(tmp_path) / "README.md").read_text()
    assert (page.count("## The speed"), page.count("| row 0 |"), page.count("| row 2 |")) == (1, 1, 0)
    assert page.index("## The speed") < page.index("## Another") < page.index("| kept |")


def test_another_cpus_tables_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for name, flags in (("Intel(R) Xeon(R) CPU @ 2.20GHz", "avx2 amx_bf16"), ("AMD EPYC", "avx2 avx512_bf16")):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: {name}\nflags\t\t: fpu {flags}\n")
        monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
        publish(growing(1), tmp_path)
        folders.append(folder_of_this_cpu(tmp_path).name)
    assert folders == ["intel-xeon-amx-bf16", "amd-epyc-avx512-bf16"]
    assert all(len(rows_in(tmp_path / folder)) == 2 for folder in folders)
    index = (tmp_path / "README.md").read_text()
    assert index.startswith("# Measured\n\n- [Intel")
    assert [index.count(f"({folder}/README.md)") for folder in folders] == [1, 1]


def test_text_before_the_first_section_stays() -> None:
    assert (
        with_section("# Title\n\nBegin.\n\n## A\n\n1\n", "B", "2\n") == "# Title\n\nBegin.\n\n## A\n\n1\n\n## B\n\n2\n"
    )


def test_times_are_given_after_each_round() -> None:
    calls: list[str] = []
    ways = [lambda: calls.append("a"), lambda: calls.append("b")]
    counts = [[len(times) for times in so_far] for so_far in growing_milliseconds(ways, 3)]
    assert counts == [[1, 1], [2, 2], [3, 3]]
    assert calls == ["a", "b"] * 4


def test_each_folder_of_a_cpu_has_a_page_that_names_it() -> None:
    index = (RESULTS / "README.md").read_text()
    for page in RESULTS.glob("*/README.md"):
        title = page.read_text().splitlines()[0]
        assert machine.folder_name(title.removeprefix("# Measured on ")) == page.parent.name
        assert f"({page.parent.name}/README.md)" in index


def test_the_command_measures_a_part_and_writes_its_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--only", "around_the_network", "--results", str(tmp_path)]
    result = subprocess.run(command, cwd=RESULTS.parents[1], capture_output=True, text=True, check=True)
    assert "| **JPEG in, COCO out** |" in result.stdout
    assert (folder_of_this_cpu(tmp_path) / "around_the_network.csv").exists()
