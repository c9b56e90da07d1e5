"""Accuracy: the scores, the categories of classes, and the errors about data that can't be measured."""

import io
import json
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from tensormask_server import Detections
from tensormask_server.client import Client, WrongServer
from tensormask_server.responses.arrays import npz

from bench import detections
from bench import evaluate as command
from bench.scores import EvaluationError, coco_results, evaluate
from training.annotations import DataError, category_ids

CATEGORIES = [70, 3, 18]  # as they stand in the file: with gaps, and not in order
HEIGHT, WIDTH = 120, 160
OTHER_LINE = '{{"image_id": 7, "threshold": 0.05, "results": {}}}\n'
RIGHT = np.array([15, 0, 15, 0], np.float32)


def detections_of(seed: int, sides: tuple[int, ...] = (20, 50, 100)) -> Detections:
    """Squares of these sides, one of each class."""
    random = np.random.default_rng(seed)
    boxes = np.array(
        [[x := int(random.integers(0, 40)), y := int(random.integers(0, 20)), x + s, y + s] for s in sides]
    )
    masks = np.zeros((len(sides), HEIGHT, WIDTH), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    scores = np.linspace(0.9, 0.5, len(sides), dtype=np.float32)
    return Detections.of_masks(boxes.astype(np.float32), scores, np.arange(len(sides)), masks)


def annotated(by_image: dict[int, Detections]) -> dict[str, Any]:
    """Annotations that are these detections, numbered from 0."""
    content: dict[str, Any] = {"categories": [{"id": number, "name": str(number)} for number in CATEGORIES]}
    content["images"] = [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in by_image]
    results = [
        each for i, detections in by_image.items() for each in coco_results(i, detections, category_ids(content))
    ]
    content["annotations"] = [
        {**each, "id": number, "area": int(rle.area(each["segmentation"]))} for number, each in enumerate(results)
    ]
    return content


@pytest.fixture
def by_image() -> dict[int, Detections]:
    return {image_id: detections_of(image_id) for image_id in (7, 9, 40)}


def results_of(by_image: dict[int, Detections]) -> list[dict[str, Any]]:
    return [each for image_id, one in by_image.items() for each in coco_results(image_id, one, sorted(CATEGORIES))]


def test_perfect_results_score_one_at_every_size(by_image: dict[int, Detections]) -> None:
    scores = evaluate(annotated(by_image), results_of(by_image))
    for part in (scores.boxes, scores.masks):
        assert (part.ap, part.ap50, part.ap75, part.small, part.medium, part.large) == pytest.approx((1,) * 6)


def test_shifted_boxes_lower_only_the_box_scores(by_image: dict[int, Detections]) -> None:
    """By 15 pixels: a side of 20 then overlaps by 1/7 of the union, one of 50 by 7/13, and one of 100 by 17/23."""
    shifted = {image_id: replace(one, boxes=one.boxes + RIGHT) for image_id, one in by_image.items()}
    scores = evaluate(annotated(by_image), results_of(shifted))
    assert scores.boxes.ap50 == pytest.approx(2 / 3)
    assert scores.boxes.ap75 == pytest.approx(0)
    # IoU 0.5 alone is reached by the second; 0.5, 0.55 … 0.7 by the third
    assert (scores.boxes.small, scores.boxes.medium, scores.boxes.large) == pytest.approx((0, 0.1, 0.5))
    assert scores.masks.ap == pytest.approx(1)


def test_mask_scores_sort_by_the_masks_area_and_not_the_boxs() -> None:
    """A thin instance with a large box is a small instance. COCO's tools use a result's box if it has one."""
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, np.arange(110), np.arange(110)] = True
    thin = Detections.of_masks(
        np.array([[0, 0, 110, 110]], np.float32), np.array([0.5], np.float32), np.zeros(1, int), mask
    )
    wrong = Detections.of_masks(thin.boxes, np.array([0.9], np.float32), thin.classes, mask[:, ::-1])
    fields = ("boxes", "scores", "classes", "masks")
    both = Detections.of_masks(*(np.concatenate([getattr(one, name) for one in (thin, wrong)]) for name in fields))
    scores = evaluate(annotated({1: thin}), results_of({1: both}))
    assert scores.masks.small == pytest.approx(0.5)  # the wrong one is small too, and so it counts there
    assert np.isnan(scores.masks.large)


def test_images_without_results_count_as_empty(by_image: dict[int, Detections]) -> None:
    assert evaluate(annotated(by_image), []).masks.ap == 0
    half = {image_id: one for image_id, one in by_image.items() if image_id != 9}
    assert 0.5 < evaluate(annotated(by_image), results_of(half)).boxes.ap < 0.7


def test_a_network_without_masks_has_box_scores(by_image: dict[int, Detections]) -> None:
    without = {image_id: replace(one, image_masks=None) for image_id, one in by_image.items()}
    scores = evaluate(annotated(by_image), results_of(without))
    assert scores.boxes.ap == pytest.approx(1)
    assert scores.masks is None
    assert command.table(scores).splitlines()[1].split() == ["box", *["100.00"] * 6]


def test_evaluation_leaves_its_arguments_as_they_were(by_image: dict[int, Detections]) -> None:
    annotations, results = annotated(by_image), results_of(by_image)
    before = json.dumps([annotations, results])
    evaluate(annotations, results)
    assert json.dumps([annotations, results]) == before


def test_class_k_is_the_kth_of_the_sorted_category_ids(by_image: dict[int, Detections]) -> None:
    assert category_ids(annotated(by_image)) == [3, 18, 70]
    assert [each["category_id"] for each in coco_results(1, detections_of(0), [3, 18, 70])] == [3, 18, 70]
    with pytest.raises(EvaluationError, match="class 2, and the annotation file has only 2 categories"):
        coco_results(1, detections_of(0), [3, 18])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"area": None}, r"annotation 4 has no 'bbox' \[x, y, w, h\] or no 'area'"),
        ({"bbox": []}, "annotation 4 has no 'bbox'"),
        ({"bbox": [1, 2, 3, "4"]}, "annotation 4 has no 'bbox'"),
        ({"segmentation": None}, "annotation 4 outlines nothing, although others do"),
        ({"segmentation": []}, "annotation 4 outlines nothing, although others do"),
        ({"segmentation": [[]]}, "annotation 4 outlines nothing, although others do"),
        ({"segmentation": [[1, 2, 3, 4]]}, "annotation 4 outlines nothing, although others do"),
        ({"segmentation": "x"}, "the segmentation of annotation 4 is x; expected a list of polygons"),
        ({"segmentation": {"counts": 7}}, "the segmentation of annotation 4 is {'counts': 7}; expected"),
        (
            {"segmentation": {"counts": "", "size": [3, 4]}},
            r"an RLE of the size \[3, 4\], on an image of \[120, 160\]",
        ),
    ],
)
def test_an_annotation_that_can_not_be_measured_on_is_named(
    by_image: dict[int, Detections], changed: dict[str, object], said: str
) -> None:
    annotations = annotated(by_image)
    annotations["annotations"][4] |= changed
    with pytest.raises((EvaluationError, DataError), match=said):
        evaluate(annotations, results_of(by_image))


def test_annotations_without_any_outline_score_only_boxes(by_image: dict[int, Detections]) -> None:
    annotations = annotated(by_image)
    for annotation in annotations["annotations"]:
        annotation["segmentation"] = []
    scores = evaluate(annotations, results_of(by_image))
    assert scores.boxes.ap == pytest.approx(1)
    assert scores.masks is None


def test_a_response_is_read_back() -> None:
    expected = detections_of(3)
    response = detections.read_detections(npz(expected))
    for name in ("boxes", "scores", "classes", "masks"):
        np.testing.assert_array_equal(getattr(response, name), getattr(expected, name))


def zipped(**arrays: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


@pytest.mark.parametrize("body", [b"", b"hello", b"PK\x03\x04", zipped(), zipped(scores=np.array([None]))])
def test_another_body_is_an_error(body: bytes) -> None:
    with pytest.raises(WrongServer, match="something else than detections"):
        detections.read_detections(body)


def bomb() -> bytes:
    """64 MB of zeros in 64 kB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("scores.npy", "w") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    return packed.getvalue()


def header(name: str, text: str) -> bytes:
    """A response of which one array has this header, and nothing else."""
    packed = io.BytesIO(npz(detections_of(3)))
    with zipfile.ZipFile(packed) as archive:
        entries = {each: archive.read(each) for each in archive.namelist()}
    entries[f"{name}.npy"] = b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text.encode() + b"\n"
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for each, content in entries.items():
            archive.writestr(each, content)
    return changed.getvalue()


def shaped(descr: str, shape: str) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "body",
    [
        b"PK\x05\x06" + bytes(8) + (10**9).to_bytes(4, "little") + bytes(6),
        header("scores", shaped("<f4", "(1000000000000,)")),
        header("scores", shaped("<f4", "(-1,)")),
        header("scores", shaped("|O", "(3,)")),
        header("scores", "(" * 5000),
        header("scores", "__import__('os').abort()"),
        header("pred_masks", shaped("|b1", "(1000000, 1000000, 1000000)")),
        header("pred_classes", shaped("<f4", "(0,)")),
        zipped(pred_boxes=np.zeros((1, 4)), scores=np.zeros(2), pred_classes=np.zeros(2, int)),
        zipped(pred_boxes=np.zeros((1, 4)), scores=np.full(1, np.inf), pred_classes=np.zeros(1, int)),
        zipped(pred_boxes=np.full((1, 4), np.nan), scores=np.zeros(1), pred_classes=np.zeros(1, int)),
        zipped(pred_boxes=np.zeros((1, 4)), scores=np.zeros(1), pred_classes=np.full(1, -1)),
        zipped(pred_boxes=np.zeros((1, 5)), scores=np.zeros(1), pred_classes=np.zeros(1, int)),
    ],
    ids=range(13),
)
def test_a_hostile_response_takes_no_memory(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WrongServer, match="something else than detections"):
            detections.read_detections(body)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_response_that_unpacks_to_more_than_is_allowed_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    body = bomb()
    monkeypatch.setattr(detections, "MAX_BYTES", 60_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(WrongServer, match="67108864 bytes of arrays; expected at most 60000000"):
            detections.read_detections(body)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_masks_of_another_size_than_the_image_are_reported(
    tmp_path: Path, stub: "Stub", client: Client, by_image: dict[int, Detections], capsys: pytest.CaptureFixture[str]
) -> None:
    empty = np.zeros((1, 2, 2), bool)
    stub.responses = [(200, npz(Detections.of_masks(np.zeros((1, 4)), np.ones(1), np.zeros(1, int), empty)))] * 3
    assert command.main([*write_folder(tmp_path, by_image), "--url", client.url]) == 2
    assert "masks of 2×2 pixels on an image of 120×160" in last_line(capsys)


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.png", "a/../../secret.png", "\x1b[2J/../.."])
def test_an_annotation_file_names_no_image_outside_of_the_folder(
    tmp_path: Path,
    stub: "Stub",
    client: Client,
    by_image: dict[int, Detections],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = write_folder(tmp_path, by_image)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "secret.png")
    annotations = json.loads((tmp_path / "instances.json").read_text())
    annotations["images"][0]["file_name"] = name
    (tmp_path / "instances.json").write_text(json.dumps(annotations))
    assert command.main([*arguments, "--url", client.url]) == 2
    line = last_line(capsys)
    assert "expected names within" in line
    assert line.isprintable()
    assert stub.tokens == []


class Stub(HTTPServer):
    """Gives these responses in turn, None ending the connection; without any left, detections."""

    responses: list[tuple[int, bytes] | None]
    tokens: list[str | None]


class StubHandler(BaseHTTPRequestHandler):
    server: Stub

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.append(self.headers["Authorization"])
        response = self.server.responses.pop(0) if self.server.responses else (200, npz(detections_of(0)))
        if response is not None:
            self.send_response(response[0])
            self.send_header("Content-Type", "application/zip" if response[0] == 200 else "application/json")
            self.end_headers()
            self.wfile.write(response[1])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub(("127.0.0.1", 0), StubHandler) as server:
        server.responses, server.tokens = [], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(stub: Stub) -> Client:
    return Client(f"http://127.0.0.1:{stub.server_port}/predictions/any", token="abc", waits=(0, 0, 0))


def test_no_server_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write_folder(tmp_path, {7: detections_of(7)})
    assert command.main([*arguments, "--url", "http://127.0.0.1:1/predictions/any"]) == 2
    assert last_line(capsys).startswith("evaluate.py: no server answers at http://127.0.0.1:1/predictions/any: ")


def write_folder(folder: Path, by_image: dict[int, Detections]) -> list[str]:
    """The command's arguments for a folder of black images with these annotations."""
    annotations = annotated(by_image)
    (folder / "instances.json").write_text(json.dumps(annotations))
    (folder / "images").mkdir()
    for image in annotations["images"]:
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / image["file_name"])
    return ["--annotations", str(folder / "instances.json"), "--images", str(folder / "images")]


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_an_error_on_one_image_is_reported_and_counted(
    tmp_path: Path, stub: Stub, client: Client, by_image: dict[int, Detections], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*write_folder(tmp_path, by_image), "--url", client.url, "--concurrency", "1"]
    arguments += ["--results", str(tmp_path / "results.jsonl")]
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(tmp_path / "images" / "40.png")
    stub.responses = [(500, b'{"message": "worker died"}')]
    assert command.main(arguments) == 1
    printed = capsys.readouterr()
    assert "7.png: 500 worker died" in printed.err
    assert "40.png: has 121×160 pixels, and annotations for 120×160" in printed.err
    assert "2 of 3 images got no response" in printed.err.splitlines()[-1]
    assert [line.split()[0] for line in printed.out.splitlines()] == ["AP", "box", "mask"]
    # only those are requested again
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "40.png")
    stub.tokens.clear()
    assert command.main(arguments) == 0
    assert len(stub.tokens) == 2


def test_a_half_written_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = command.ResultsFile(path, 0.05)
    whole = results.line(7, [])
    for half in ("", "{", '{"image_id": 9, "resul', '{"image_id": 9, "results": []}'):
        path.write_text(whole + half)
        assert results.read() == {7: []}
        assert path.read_text() == whole


@pytest.mark.parametrize(
    "content",
    [
        '{"images": []}',
        "7\n",
        '{"image_id": 7}\n',
        OTHER_LINE.format('"none"'),
        OTHER_LINE.format("[7]"),
        "half a\nline",
    ],
)
def test_a_file_that_holds_no_results_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(content)
    with pytest.raises(EvaluationError, match="name another --results"):
        command.ResultsFile(path, 0.05).read()
    assert path.read_text() == content


def test_what_can_not_be_measured_is_reported_before_anything_is_sent(
    tmp_path: Path, stub: Stub, client: Client, by_image: dict[int, Detections], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*write_folder(tmp_path, by_image), "--url", client.url]
    results = tmp_path / "results.jsonl"
    kept = command.ResultsFile(results, 0.05)
    results.write_text(kept.line(8, []))
    assert command.main([*arguments, "--results", str(results)]) == 2
    assert "results.jsonl has other images than" in last_line(capsys)
    results.write_text(replace(kept, threshold=0.3).line(7, []))
    assert command.main([*arguments, "--results", str(results)]) == 2
    assert "holds results with another --threshold: 0.3, not 0.05" in last_line(capsys)
    for wrong in (["--threshold", "nan"], ["--threshold", "2"], ["--concurrency", "0"]):
        with pytest.raises(SystemExit, match="2"):
            command.main([*arguments, *wrong])
    (tmp_path / "images" / "9.png").unlink()
    assert command.main(arguments) == 2
    assert f"1 of the annotation file's 3 images are not in {tmp_path / 'images'}, 9.png for one" in last_line(capsys)
    emptied = json.loads((tmp_path / "instances.json").read_text())
    emptied["annotations"][2]["segmentation"] = []
    (tmp_path / "instances.json").write_text(json.dumps(emptied))
    assert command.main(arguments) == 2
    assert "annotation 2 outlines nothing" in last_line(capsys)
    for content, reason in (("{", "is not JSON"), ("[]", "has no list 'images'"), ('{"images": []}', "'annotations'")):
        (tmp_path / "instances.json").write_text(content)
        assert command.main(arguments) == 2
        assert reason in last_line(capsys)
    assert stub.tokens == []
