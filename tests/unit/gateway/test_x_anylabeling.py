"""X-AnyLabeling's requests and responses, without a server."""

import json
import math
from typing import Any

import pytest
from matplotlib.path import Path as Polygon
from tensormask_server.gateway.errors import GatewayError
from tensormask_server.gateway.json_bodies import MOST_VALUES, json_object
from tensormask_server.gateway.x_anylabeling import polygons, rectangles, server_request
from tensormask_server.gateway.x_anylabeling_models import models_for_tool

ASKED = {"model": "m", "image": "data:image/png;base64,AAAA"}


def options_of(**params: object) -> dict[str, Any]:
    _, _, request = server_request({**ASKED, "params": params})
    options: dict[str, Any] = json.loads(request)
    assert options.pop("image") == ASKED["image"]
    return options


def test_the_tools_parameters_become_options() -> None:
    assert server_request(ASKED)[:2] == ("m", "polygons")
    assert server_request({**ASKED, "params": None})[1] == "polygons"
    polygon = {"format": "polygons", "image_data": "none", "holes": "fill"}
    assert options_of() == polygon
    assert options_of(conf_threshold=0, iou_threshold=1, epsilon_factor=0.001, filter_classes=["a", "b,c"]) == {
        **polygon,
        "score_threshold": 0,
        "nms_threshold": 1,
        "tolerance": 0.5,
        "classes": ["a", "b,c"],
    }
    assert options_of(epsilon_factor=1)["tolerance"] == 20
    assert options_of(current_task="polygons_with_holes")["holes"] == "keep"
    assert options_of(current_task="rectangles", epsilon_factor=0.001) == {"format": "coco"}
    assert options_of(filter_classes=[], conf_threshold=None, marks=[], text_prompt="cat") == polygon


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": None}, "model is None"),
        ({"model": ["m"]}, "model is ['m']"),
        ({"image": ""}, "image is ''"),
        ({"image": {"b64": "AAAA"}}, "image is {"),
        ({"params": {"filter_classes": ["Ж" * 2_000_000]}}, "params.filter_classes has more text"),
        ({"image": "ü" * 1_000_000}, "image has characters that base64 doesn't have"),
        ({"params": [1]}, "params is [1]"),
        ({"params": {"conf_threshold": "0.5"}}, "params.conf_threshold is '0.5'"),
        ({"params": {"conf_threshold": True}}, "params.conf_threshold is True"),
        ({"params": {"conf_threshold": 1.5}}, "params.conf_threshold is 1.5"),
        ({"params": {"iou_threshold": math.nan}}, "params.iou_threshold is nan"),
        ({"params": {"epsilon_factor": -1e400}}, "params.epsilon_factor is -inf"),
        ({"params": {"epsilon_factor": 10**400}}, "params.epsilon_factor is"),
        ({"params": {"filter_classes": "cat"}}, "params.filter_classes is 'cat'"),
        ({"params": {"filter_classes": [3]}}, "params.filter_classes is [3]"),
        ({"params": {"current_task": "rectangle"}}, "did you mean rectangles"),
        ({"params": {"current_task": ["polygons"]}}, "params.current_task is ['polygons']"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(GatewayError) as raised:
        server_request({**ASKED, **change})
    assert raised.value.status == 400
    assert said in raised.value.error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no body"),
        (b"\xff\xd8\xff", "not JSON"),
        (b'{"model": ', "not JSON"),
        (b"[1, 2]", "the JSON is [1, 2]"),
        (b"[" * 90_000, "nested too deeply"),
        (b"[" + b"0," * MOST_VALUES + b"0]", "values"),
        (b"[" * 50_000 + b"{" * 60_000, "values"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(GatewayError) as raised:
        json_object(content)
    assert raised.value.status == 400
    assert said in raised.value.error


def test_the_first_point_of_a_polygon_stands_in_it_once() -> None:
    """The tool's shapes end where their first point comes again; a detour over a hole may begin at the first point."""
    outer, hole = [[0, 0], [9, 0], [9, 9], [0, 9]], [[2, 2], [2, 4], [4, 4], [4, 2]]
    ring = [outer[0], *hole, hole[0], *outer]
    labelme = {"shapes": [{"label": "cup", "points": ring, "group_id": 3, "description": "score 0.250"}]}
    [shape] = polygons(labelme)
    points = shape["points"]
    assert points.count(points[0]) == 1
    assert sorted(points) == sorted(ring)
    for polygon in (Polygon([*points, points[0]]), Polygon([*ring, ring[0]])):
        assert [polygon.contains_point(point) for point in ((3, 3), (8, 1), (1, 8))] == [False, True, True]
    assert (shape["label"], shape["shape_type"], shape["group_id"], shape["score"]) == ("cup", "polygon", 3, 0.25)


def test_a_box_becomes_four_corners() -> None:
    [shape] = rectangles({"instances": [{"category_name": "cup", "bbox": [1, 2, 10, 20], "score": 0.5}]})
    assert shape["points"] == [[1, 2], [11, 2], [11, 22], [1, 22]]
    assert (shape["label"], shape["shape_type"], shape["score"], shape["kie_linking"]) == ("cup", "rectangle", 0.5, [])


def test_the_models_have_their_own_defaults_and_tasks() -> None:
    listed = models_for_tool(
        [
            {"name": "old"},
            {"name": "b", "classes": ["cat"], "has_masks": False, "score_threshold": 0.2, "nms_threshold": 0.6},
        ]
    )
    assert list(listed) == ["old", "b"]
    widgets = {name: {each["name"]: each["value"] for each in model["widgets"]} for name, model in listed.items()}
    assert (widgets["old"]["edit_conf"], widgets["old"]["edit_iou"]) == (0.5, 0.5)
    assert (widgets["b"]["edit_conf"], widgets["b"]["edit_iou"]) == (0.2, 0.6)
    assert [each["id"] for each in listed["old"]["available_tasks"]] == [
        "polygons",
        "polygons_with_holes",
        "rectangles",
    ]
    [rectangle] = listed["b"]["available_tasks"]
    assert rectangle["id"] == "rectangles"
    assert "mask_fineness_slider" not in rectangle["active_widgets"]
    assert listed["b"]["classes"] == ["cat"]
