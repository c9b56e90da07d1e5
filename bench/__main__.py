"""Measures everything and writes tables, CSV and charts to bench/results: python -m bench, or make bench."""

import multiprocessing
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import matplotlib as mpl
import torch

from bench import (
    accuracy,
    around_the_network,
    browser,
    core_time,
    gateway,
    memory,
    mosaic,
    served,
    stages,
    waterfall,
    whole_request,
)
from bench.tables import Table

RESULTS = Path(__file__).parent / "results"
MEASURES: tuple[Callable[[], Table | list[Table]], ...] = (
    accuracy.measure,  # first, as it can't be measured everywhere: it wants npm once
    mosaic.measure,
    whole_request.measure,
    around_the_network.measure,
    stages.measure,
    core_time.measure,
    memory.measure,
    served.measure,
    gateway.measure,
    browser.measure,
)


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    written = [f"# Measured\n\nBy `make bench`, on {machine()}. Look at the ratios within a table."]
    for measure in MEASURES:
        # in a process of its own: what one leaves in memory would slow the next down
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            measured = process.submit(measure).result()
        for table in measured if isinstance(measured, list) else [measured]:
            table.show()
            table.write(RESULTS)
            written.append(f"## {table.title}\n\n{table.note}.\n\n{table.markdown()}")
            if table.name.startswith("by_"):
                draw(table, RESULTS / f"{table.name}.png")
                written.append(f"![{table.title}]({table.name}.png)")
            if table.name == "whole_request":
                waterfall.draw(RESULTS / f"{table.name}.csv", RESULTS / f"{table.name}.png")
                written.append(f"![{table.title}]({table.name}.png)")
    (RESULTS / "README.md").write_text("\n\n".join(written) + "\n", encoding="utf-8")


def machine() -> str:
    threads = torch.get_num_threads()
    return f"{threads} threads of {processor()}, torch {torch.__version__}, Python {platform.python_version()}"


def processor() -> str:
    """As Linux names it."""
    with Path("/proc/cpuinfo").open() as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def draw(table: Table, path: Path) -> None:
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


if __name__ == "__main__":
    main()
