"""Files of the format polygons in the real labelme, which has an environment of its own: it needs Qt, and is GPL."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_fill_holes
from tensormask_server.bad_request import BadRequest
from tensormask_server.responses import polygons
from tensormask_server.responses.encoding import encode

from tests.environments import python_with
from tests.unit.responses.examples import shapes
from tests.waiting import PATIENCE

pytestmark = pytest.mark.extensive

# prints what labelme reads in each file, and writes the masks that it makes of the shapes
READ = """
import json, sys
import numpy as np
from labelme import LabelFile
from labelme.utils import shape_to_mask

for path in sys.argv[1:]:
    file = LabelFile(path)
    content = json.load(open(path))
    size = content["imageHeight"], content["imageWidth"]
    masks = [shape_to_mask(size, shape["points"], shape["shape_type"]) for shape in file.shapes]
    labels = [shape["label"] for shape in file.shapes]
    groups = [shape["group_id"] for shape in file.shapes]
    np.savez(path + ".npz", masks=np.reshape(masks, (-1, *size)), image=bool(file.image_data))
    print(json.dumps([labels, groups, str(file.image_path)]))
"""


@pytest.fixture(scope="module")
def labelme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with labelme."""
    return python_with(tmp_path_factory.mktemp("labelme"), "labelme>=6.3")


def test_labelme_opens_the_file_and_sees_the_masks(labelme: Path, tmp_path: Path) -> None:
    requests: dict[str, dict[str, Any]] = {
        "embedded.json": {"tolerance": 0},
        "beside.json": {"tolerance": 0, "image_data": "none", "file_name": "one.png"},
        "holes.json": {"tolerance": 0, "holes": "keep"},
        "simple.json": {},
    }
    Image.fromarray(shapes().image).save(tmp_path / "one.png")
    for name, options in requests.items():
        (tmp_path / name).write_bytes(encode(shapes(format="polygons", **options)))
    command = [labelme, "-c", READ, *(tmp_path / name for name in requests)]
    environment = {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stderr
    detections = shapes().detections
    assert detections.masks is not None
    for line, name in zip(result.stdout.splitlines(), requests, strict=True):
        labels, groups, image = json.loads(line)
        file_shapes = json.loads((tmp_path / name).read_text())["shapes"]
        assert labels == [shape["label"] for shape in file_shapes]
        assert groups == [shape["group_id"] for shape in file_shapes]
        assert image.endswith("one.png" if name == "beside.json" else "image.png")
        with np.load(tmp_path / f"{name}.npz") as read:
            assert read["image"]
            polygons = read["masks"]
        for mask, score in zip(detections.masks, detections.scores, strict=True):
            own = [shape["description"] == f"score {score:.3f}" for shape in file_shapes]
            found = polygons[own].any(axis=0)
            expected = mask if name == "holes.json" else binary_fill_holes(mask)
            assert (found & expected).sum() >= 0.99 * expected.sum()
            # labelme draws a polygon's line as well as its inside, and so the way to a hole
            assert (found & ~binary_dilation(expected, np.ones((3, 3)))).sum() <= (10 if name == "holes.json" else 0)


def test_a_mask_whose_outline_would_take_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result = shapes(format="polygons")
    assert result.detections.image_masks is not None
    largest = max(crop.pixels_spanned for crop in result.detections.image_masks)
    monkeypatch.setattr(polygons, "LARGEST_MASK", largest)
    assert encode(result)
    monkeypatch.setattr(polygons, "LARGEST_MASK", largest - 1)
    with pytest.raises(BadRequest, match=f"a mask spans {largest} pixels"):
        encode(result)
