"""The chart has every row of a table, in its order, with the accuracy and the limits."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from tensormask_server.options import ENGINE_PRECISIONS

from bench import waterfall
from bench.results import RESULTS
from bench.waterfall import draw

PRECISIONS = ENGINE_PRECISIONS["openvino"]
ROWS = """what,"median, ms","p90, ms",faster,detections paired,mask IoU
first server,2000,2100,1×,,
"float32, the default",500,520,4.0×,19 of 19,1.0000
bfloat16 instead,250,260,8.0×,19 of 19,0.9960
"limit, bfloat16: all",100,100,20.0×,,
"""


def test_every_row_changes_the_chart(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = ROWS.splitlines(keepends=True)
    charts = []
    for left_out in (None, 2, 3, 4):
        table.write_text("".join(line for number, line in enumerate(lines) if number != left_out))
        draw(table, tmp_path / "chart.png")
        charts.append((tmp_path / "chart.png").read_bytes())
    assert len(set(charts)) == 4


@pytest.mark.parametrize("table", sorted(RESULTS.glob("*/whole_request*.csv")), ids=lambda table: table.parent.name)
def test_a_committed_table_is_drawn(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = shutil.copy(table, tmp_path)
    monkeypatch.setattr("sys.argv", ["waterfall", str(copied)])
    waterfall.main()
    with Image.open(tmp_path / f"{table.stem}.png") as image:
        assert image.width > image.height > 200


def test_each_precision_has_its_colour() -> None:
    colours = {waterfall._colour(f"--engine openvino, {precision}") for precision in PRECISIONS}
    assert len(colours) == len(PRECISIONS) == 3
