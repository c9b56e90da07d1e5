"""Draws what each optimisation saves, from a table of bench.whole_request: python -m bench.waterfall TABLE.csv

A bar is a row, with the accuracy beside it. The dashed lines are the limits. The chart is beside the table.
"""

import argparse
import csv
from pathlib import Path

import matplotlib as mpl

COLOURS = {"float32": "#4878a8", "bfloat16": "#e08a3c", "int8": "#5a9e5a"}  # of bars and limits


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the table of whole requests as a waterfall.")
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="in a CPU's folder of bench/results")
    table = parser.parse_args().table
    draw(table, table.with_suffix(".png"))


def draw(table: Path, chart: Path) -> None:
    """Draws a table of `bench.whole_request`.

    Args:
        table: its CSV.
        chart: the PNG to write.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    bars = [row for row in rows if not row["what"].startswith("limit")]
    limits = [row for row in rows if row["what"].startswith("limit")]
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(bars) + 1.2), layout="constrained")
    for place, row in enumerate(bars):
        spent = float(row["median, ms"])
        axes.barh(place, spent, color=_colour(row["what"]))
        mask_iou = f", mask IoU {row['mask IoU']}" if row["mask IoU"] else ""
        axes.text(spent, place, f" {spent:.0f} ms, {row['faster']}{mask_iou}", va="center", fontsize=8)
    for row in limits:
        name = row["what"].partition(":")[0]
        axes.axvline(float(row["median, ms"]), color=_colour(row["what"]), linestyle="--", label=name)
    axes.set_yticks(range(len(bars)), [row["what"] for row in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(float(row["median, ms"]) for row in bars))
    axes.set_xlabel("ms for a request")
    axes.spines[["top", "right"]].set_visible(False)
    if limits:
        axes.legend(frameon=False, loc="lower right")
    figure.savefig(chart, dpi=100)
    plt.close(figure)


def _colour(name: str) -> str:
    """By the precision that a row names; float32's if it names none."""
    return next((colour for precision, colour in COLOURS.items() if precision in name), COLOURS["float32"])


if __name__ == "__main__":
    main()
