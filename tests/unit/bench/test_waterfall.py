"""The chart has every row of a table, in its order, with the accuracy and the limits."""

from pathlib import Path

import pytest
from PIL import Image

from bench import waterfall
from bench.waterfall import TABLE, draw

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


def test_the_committed_table_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chart = tmp_path / "chart.png"
    monkeypatch.setattr("sys.argv", ["waterfall", "--table", str(TABLE), "--chart", str(chart)])
    waterfall.main()
    with Image.open(chart) as image:
        assert image.width > image.height > 200
