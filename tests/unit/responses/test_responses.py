"""Each format opens with the tools of those who use it, and holds the same masks as the others."""

import base64
import gzip
import io
import json
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tensormask_server import Detections
from tensormask_server.bad_request import BadRequest
from tensormask_server.formats import FORMATS
from tensormask_server.mask_colours import MASK_OPACITY
from tensormask_server.responses.arrays import gzipped_torch
from tensormask_server.responses.drawing import draw_detections
from tensormask_server.responses.encoding import ENCODERS, encode, error_json
from tensormask_server.responses.labelmap import labelmap
from tensormask_server.responses.options import ResponseOptions
from tensormask_server.responses.polygons import labelme_file
from tensormask_server.responses.protocols import KServeV1, OneImage, OpenInference
from tensormask_server.responses.result import Model, Result

from tests.unit.responses.examples import CLASS_NAMES, even_odd, shapes


def some_detections(count: int, with_masks: bool = True) -> Detections:
    random = np.random.default_rng(0)
    return Detections.of_masks(
        boxes=random.random((count, 4), np.float32),
        scores=np.sort(random.random(count, np.float32))[::-1].copy(),
        classes=random.integers(0, 80, count),
        masks=random.random((count, 30, 40)) > 0.5 if with_masks else None,
    )


def opened(response: bytes) -> dict[str, torch.Tensor]:
    with gzip.open(io.BytesIO(response)) as file:
        content: dict[str, torch.Tensor] = torch.load(io.BytesIO(file.read()), weights_only=True)
    return content


@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_goes_in_comes_out(count: int) -> None:
    detections = some_detections(count)
    tensors = opened(gzipped_torch(detections))
    np.testing.assert_array_equal(tensors["pred_masks"], detections.masks)
    np.testing.assert_array_equal(tensors["scores"], detections.scores)
    np.testing.assert_array_equal(tensors["pred_classes"], detections.classes)
    np.testing.assert_array_equal(tensors["pred_boxes"], detections.boxes)
    assert [tensors[name].dtype for name in ("pred_masks", "scores", "pred_classes", "pred_boxes")] == [
        torch.bool,
        torch.float32,
        torch.int64,
        torch.float32,
    ]


def test_without_masks_there_is_no_pred_masks() -> None:
    assert set(opened(gzipped_torch(some_detections(2, with_masks=False)))) == {"scores", "pred_classes", "pred_boxes"}


def test_the_same_detections_give_the_same_bytes() -> None:
    assert gzipped_torch(some_detections(3)) == gzipped_torch(some_detections(3))


def test_it_compresses_about_as_well_as_zlib() -> None:
    masks = np.zeros((20, 200, 300), bool)
    masks[:, 50:150, 60:200] = True
    response = gzipped_torch(
        Detections.of_masks(np.zeros((20, 4), np.float32), np.zeros(20, np.float32), np.zeros(20, int), masks)
    )
    assert len(response) < 2 * len(zlib.compress(masks.tobytes(), 6)) + 2000


def test_an_error_is_json_with_what_was_wrong_and_what_is_expected() -> None:
    assert json.loads(error_json("a × b", "c…")) == {"error": "a × b", "expected": "c…"}


# --- one result in every format ---------------------------------------------------------------------------------------


def assert_same_detections(content: dict[str, np.ndarray], detections: Detections) -> None:
    np.testing.assert_array_equal(content["pred_masks"], detections.masks)
    np.testing.assert_array_equal(content["pred_boxes"], detections.boxes)
    np.testing.assert_array_equal(content["scores"], detections.scores)
    np.testing.assert_array_equal(content["pred_classes"], detections.classes)


def test_npz_holds_the_arrays_of_torch() -> None:
    with np.load(io.BytesIO(encode(shapes(format="npz"))), allow_pickle=False) as content:
        assert set(content) == set(opened(encode(shapes(format="torch"))))
        assert_same_detections(dict(content), shapes().detections)
        assert content["pred_masks"].dtype == bool


def test_coco_is_read_by_pycocotools() -> None:
    result = shapes()
    content = json.loads(encode(result))
    assert (content["width"], content["height"]) == (70, 50)
    assert (content["model"], content["weights_sha256"]) == ("small", "0123abcd")
    masks = [rle.decode(each["segmentation"]) for each in content["instances"]]
    np.testing.assert_array_equal(masks, result.detections.masks)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 5, "width": 70, "height": 50}],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)],
    }
    truth.createIndex()
    loaded = truth.loadRes([{"image_id": 5, **each} for each in content["instances"]])
    assert len(loaded.anns) == 9
    for each, box, number in zip(content["instances"], result.detections.boxes, result.detections.classes, strict=True):
        x, y, width, height = each["bbox"]
        np.testing.assert_allclose((x, y, x + width, y + height), box, atol=0.011)
        assert truth.cats[each["category_id"]]["name"] == each["category_name"] == CLASS_NAMES[number]


def test_cocos_list_goes_into_load_res_and_into_an_annotation_file() -> None:
    """Without a change but the numbers of annotations: pycocotools evaluates it against itself."""
    content = json.loads(encode(shapes(image_id=5, file_name="a/one.jpg")))
    assert (content["image_id"], content["file_name"]) == (5, "a/one.jpg")
    truth = COCO()
    image = {"id": content["image_id"], "file_name": content["file_name"], "width": 70, "height": 50}
    truth.dataset = {
        "images": [image],
        "annotations": [{"id": number, **each} for number, each in enumerate(content["instances"], start=1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, start=1)],
    }
    truth.createIndex()
    masks = shapes().detections.masks
    assert masks is not None
    assert [each["area"] for each in content["instances"]] == masks.sum(axis=(1, 2)).tolist()
    loaded = truth.loadRes(content["instances"])  # it writes other areas into the list, those of the boxes
    assert {(each["image_id"], each["file_name"], each["iscrowd"]) for each in content["instances"]} == {
        (5, "a/one.jpg", 0)
    }
    evaluation = COCOeval(truth, loaded, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[1] > 0.8  # the mask without pixels is never found


def test_the_area_of_an_instance_without_a_mask_is_its_boxs() -> None:
    for each in json.loads(encode(shapes(with_masks=False)))["instances"]:
        assert each["area"] == pytest.approx(each["bbox"][2] * each["bbox"][3], abs=0.5)
        assert (each["iscrowd"], "image_id" in each, "file_name" in each) == (0, False, False)


def test_classes_with_cocos_names_have_cocos_ids() -> None:
    result = shapes()
    model = Model("small", ("toothbrush", "person", "hair drier"), "")
    instances = json.loads(encode(Result(result.image, result.detections, model)))["instances"]
    assert [each["category_id"] for each in instances[:3]] == [90, 1, 89]


def test_the_label_map_shows_the_best_on_top() -> None:
    result = shapes()
    drawn = Image.open(io.BytesIO(labelmap(result)))
    assert drawn.mode == "I;16"
    assert result.detections.masks is not None
    expected = np.where(result.detections.masks.any(0), result.detections.masks.argmax(0) + 1, 0)
    np.testing.assert_array_equal(np.array(drawn), expected)


def test_polygons_drawn_again_are_the_masks_without_their_holes() -> None:
    result = shapes(tolerance=0)
    content = labelme_file(result)
    assert result.detections.masks is not None
    drawn = np.zeros_like(result.detections.masks)
    ungrouped = [number for number, mask in enumerate(result.detections.masks) if mask.any()]
    for shape in content["shapes"]:
        number = next(i for i in ungrouped if shape["description"] == f"score {result.detections.scores[i]:.3f}")
        assert shape["label"] == CLASS_NAMES[number % 3]
        points = np.array(shape["points"])
        drawn[number] |= even_odd(points, (50, 70))
    expected = result.detections.masks.copy()
    expected[6, 20:30, 30:40] = True
    np.testing.assert_array_equal(drawn, expected)
    image = Image.open(io.BytesIO(base64.b64decode(content["imageData"])))
    np.testing.assert_array_equal(np.array(image), result.image)


def test_png_is_the_image_with_something_drawn_where_there_are_masks() -> None:
    drawn = np.array(Image.open(io.BytesIO(encode(shapes(format="png")))))
    assert drawn.shape == shapes().image.shape
    assert (drawn != shapes().image).any()


@pytest.mark.parametrize("format", ["labelmap", "polygons", "cutouts"])
def test_a_format_of_masks_needs_masks(format: str) -> None:
    with pytest.raises(BadRequest, match=f"format is {format}, which needs masks") as error:
        encode(shapes(with_masks=False, format=format))
    assert error.value.expected.startswith("format: coco, png, ")
    assert format not in error.value.expected


@pytest.mark.parametrize("format", ["coco", "png", "csv", "npz", "torch"])
def test_boxes_without_masks_have_the_other_formats(format: str) -> None:
    assert encode(shapes(with_masks=False, format=format))


def test_the_response_to_several_images_is_json() -> None:
    results = [shapes(format="coco"), shapes(format="polygons")]
    alone = [json.loads(encode(result)) for result in results]
    v1 = KServeV1().response(results)
    assert v1.media_type == "application/json"
    assert json.loads(v1.body) == {"predictions": alone}
    v2 = OpenInference("of mine").response(results)
    assert v2.media_type == "application/json"
    content = json.loads(v2.body)
    assert content["id"] == "of mine"
    assert "id" not in json.loads(OpenInference().response(results).body)
    assert v2.headers == {}
    [output] = content["outputs"]
    assert (content["model_name"], output["datatype"], output["shape"]) == ("small", "BYTES", [2])
    assert [json.loads(text) for text in output["data"]] == alone
    for protocol in (KServeV1(), OpenInference()):
        with pytest.raises(BadRequest, match="format is png") as error:
            protocol.response([shapes(format="coco"), shapes(format="png")])
        assert error.value.expected == "format: coco or polygons"


def test_the_binary_extension_has_the_same_texts_behind_its_json() -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    model = Model("m", tuple(map(str, range(80))), "0")
    results = [Result(image, some_detections(count), model) for count in (2, 3)]
    content = OpenInference("7", is_binary=True).response(results)
    length = int(content.headers["Inference-Header-Content-Length"])
    head, tensor = json.loads(content.body[:length]), content.body[length:]
    [output] = head["outputs"]
    assert (head["id"], output["shape"], "data" in output) == ("7", [2], False)
    assert output["parameters"] == {"binary_data_size": len(tensor)}
    assert content.media_type == "application/octet-stream"
    texts = []
    while tensor:
        size = int.from_bytes(tensor[:4], "little")
        texts.append(tensor[4 : 4 + size].decode())
        tensor = tensor[4 + size :]
    [plain] = json.loads(OpenInference().response(results).body)["outputs"]
    assert texts == plain["data"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_response_to_one_image_is_in_the_requested_format(format: str) -> None:
    content = OneImage().response([shapes(format=format)])
    assert content.media_type == FORMATS[format].media_type
    assert content.body == encode(shapes(format=format))


def test_each_format_of_the_table_has_an_encoder_of_its_type() -> None:
    assert ENCODERS.keys() == FORMATS.keys()
    for name, format in FORMATS.items():
        assert isinstance(ENCODERS[name](shapes()), dict if format.is_json else bytes), name


def test_a_box_of_less_than_a_pixel_can_be_drawn() -> None:
    result = shapes()
    boxes = result.detections.boxes.copy()
    boxes[0], boxes[1] = (10, 10, 10.3, 10.2), (69.9, 49.9, 70, 50)
    detections = Detections.of_masks(
        boxes, result.detections.scores, result.detections.classes, result.detections.masks
    )
    assert encode(Result(result.image, detections, result.model, response=ResponseOptions("png")))


def test_a_masks_pixels_are_tinted_and_no_others() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    mask = np.zeros((1, 40, 60), bool)
    mask[0, 25:35, 20:50] = True
    box = np.array([[20, 25, 50, 35]], np.float32)
    detections = Detections.of_masks(box, np.ones(1, np.float32), np.zeros(1, np.int64), mask)
    drawn = draw_detections(image, detections, [""])
    inside = np.zeros((40, 60), bool)
    inside[30:34, 22:48] = True  # away from the box's lines and the label
    outside = ~mask[0] & (np.arange(40)[:, None] > 36)
    np.testing.assert_array_equal(drawn[outside], image[outside])
    tint = drawn[inside].astype(float) - (1 - MASK_OPACITY) * image[inside]
    assert tint.std(axis=0).max() < 0.6  # one colour, but for rounding
    assert tint.mean() > 30


def test_a_label_at_the_right_edge_is_drawn_whole() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    box = np.array([[190, 50, 200, 60]], np.float32)
    detections = Detections.of_masks(box, np.ones(1, np.float32), np.zeros(1, np.int64), None)
    label = draw_detections(image, detections, ["a long name"])[36:50]
    lit = np.flatnonzero(label.any(axis=(0, 2)))
    assert lit[-1] - lit[0] > 60


def test_labels_cover_no_better_ones() -> None:
    """Detections in one place each have a whole label, on a plate of their own colour."""
    boxes = np.array([[100, 60, 240, 160]], np.float32) + np.arange(6, dtype=np.float32)[:, None]
    detections = Detections.of_masks(boxes, np.full(6, 0.5, np.float32), np.zeros(6, np.int64), None)
    drawn = draw_detections(np.zeros((200, 300, 3), np.uint8), detections, ["a name"])
    colours, counts = np.unique(drawn.reshape(-1, 3), axis=0, return_counts=True)
    plates = {
        tuple(colour) for colour, count in zip(colours.tolist(), counts, strict=True) if count > 600 and any(colour)
    }
    assert len(plates) == 6
