"""The committed tables: a folder for each CPU, with a page of all tables that were measured on it."""

import re
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import matplotlib as mpl

from bench import waterfall
from bench.machine import cpu, folder_name, versions
from bench.tables import Table

RESULTS = Path(__file__).parent / "results"
PAGE = "README.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)


def folder_of_this_cpu(results: Path = RESULTS) -> Path:
    return results / folder_name(cpu())


def publish(measured: Table | Iterable[Table], results: Path = RESULTS) -> None:
    """Writes tables into the folder of this CPU, and prints them.

    Args:
        measured: a table, or several. One that comes again has new rows since. It is written each time, so that a
            measurement that is cut off leaves what it has.
        results: the folder of all CPUs.
    """
    last: dict[str, Table] = {}
    for table in [measured] if isinstance(measured, Table) else measured:
        save(table, folder_of_this_cpu(results))
        last[table.name] = table
    for table in last.values():
        table.show()


def measure_and_publish(measure: Callable[[], Table | Iterable[Table]], results: Path) -> None:
    """Measures, and publishes the tables."""
    publish(measure(), results)


def save(table: Table, folder: Path) -> None:
    """Writes a table's CSV, its chart if it has one, and its section of the folder's page."""
    folder.mkdir(parents=True, exist_ok=True)
    table.write(folder)
    section = f"{table.note}; {versions()}; {date.today()}.\n\n{table.markdown()}"
    if table.name.startswith("by_"):
        draw_stages(table, folder / f"{table.name}.png")
    if table.name.startswith("whole_request"):
        waterfall.draw(folder / f"{table.name}.csv", folder / f"{table.name}.png")
    if (folder / f"{table.name}.png").exists():
        section += f"\n\n![{table.title}]({table.name}.png)"
    page = folder / PAGE
    begin = f"# Measured on {cpu()}\n\nBy `make bench` and the commands of `bench`. Look at the ratios within a table."
    earlier = page.read_text(encoding="utf-8") if page.exists() else begin
    page.write_text(with_section(earlier, table.title, section), encoding="utf-8")
    _list(folder)


def _list(folder: Path) -> None:
    """Adds a new folder to the page of all CPUs."""
    index = folder.parent / PAGE
    listed = index.read_text(encoding="utf-8") if index.exists() else "# Measured\n\n"
    if f"({folder.name}/{PAGE})" not in listed:
        index.write_text(f"{listed}- [{cpu()}]({folder.name}/{PAGE})\n", encoding="utf-8")


def with_section(page: str, title: str, text: str) -> str:
    """A page with this text under this title: in the place of the section that has it, or else at the end."""
    first, *rest = SECTION.split(page)
    sections = dict(zip(rest[::2], rest[1::2], strict=True)) | {title: text}
    return "\n\n".join([first.strip(), *(f"## {name}\n\n{each.strip()}" for name, each in sections.items())]) + "\n"


def draw_stages(table: Table, path: Path) -> None:
    """A chart of the stages, one on top of the other, by the first column."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    names = [str(row[0]) for row in table.rows]
    below = [0.0] * len(names)
    for column, title in enumerate(table.columns[1:-1], start=1):
        times = [float(str(row[column])) for row in table.rows]
        axes.bar(names, times, bottom=below, label=title.removesuffix(", ms"))
        below = [low + time for low, time in zip(below, times, strict=True)]
    axes.set_xlabel(table.columns[0])
    axes.set_ylabel("ms")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
    plt.close(figure)
