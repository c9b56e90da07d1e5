"""The function for CVAT, loaded by cvat-cli's loader and checked by the driver of CVAT's SDK.

A CVAT server can't be run here. So the part of the driver that needs none is run: it matches the labels by name and
checks each annotation. What it returns is what it would upload.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tensormask_server.client import Client

from examples.moving_drawings import DRAWINGS, SIZE, scene
from tests.served.conftest import ROOT, Server

cvataa = pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk isn't installed")
from cvat_cli._internal.common import FunctionLoader  # noqa: E402
from cvat_sdk import models  # noqa: E402
from cvat_sdk.auto_annotation.driver import _AnnotationMapper, _DetectionFunctionContextImpl  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

FUNCTION = ROOT / "examples" / "cvat_function.py"
LABELS = ("traffic light", "apple", "sports ball")


def loaded(server: Server, **parameters: Any) -> Any:
    return FunctionLoader(None, Path(FUNCTION), {"url": server.url, "labels": ",".join(LABELS), **parameters}).load()


def of_task(*names: str, label_type: str = "any") -> list[models.Label]:
    """A task's labels, as the SDK reads them. Their ids are CVAT's."""
    return [
        models.Label._from_openapi_data(id=700 + number, name=name, type=label_type, attributes=[], sublabels=[])
        for number, name in enumerate(names)
    ]


def annotated(function: Any, labels: list[models.Label], *, to_polygons: bool = False, **mapping: bool) -> list[Any]:
    """What the driver would upload for frame 5 of a task."""
    mapper = _AnnotationMapper(
        logging.getLogger(),
        function.spec.labels,
        labels,
        allow_unmatched_labels=mapping.get("allow_unmatched_labels", False),
        conv_mask_to_poly=to_polygons,
    )
    context = _DetectionFunctionContextImpl(frame_name="5.png", conf_threshold=0.5, conv_mask_to_poly=to_polygons)
    tags, shapes = mapper.validate_and_remap(function.detect(context, Image.fromarray(scene(0, 1)[0])), 5)
    assert tags == []
    return shapes


def test_masks_are_the_servers_bit_for_bit(demo_server: Server) -> None:
    shapes = annotated(loaded(demo_server), of_task("apple", "sports ball", "traffic light"))
    instances = Client(demo_server.url).predict(scene(0, 1)[0], score_threshold=0.5, classes=list(LABELS))
    assert [shape.label_id for shape in shapes] == [
        700 + ["apple", "sports ball", "traffic light"].index(name) for name in instances.names
    ]
    assert len(shapes) == len(DRAWINGS)
    for shape, mask in zip(shapes, instances.masks, strict=True):
        assert (shape.type.value, shape.frame, shape.source) == ("mask", 5, "auto")
        np.testing.assert_array_equal(decode_mask(shape.points, image_width=SIZE, image_height=SIZE), mask)


@pytest.mark.parametrize("by_parameter", [True, False])
def test_polygons_are_the_masks_outlines(by_parameter: bool, demo_server: Server) -> None:
    function = loaded(demo_server, shapes="polygon") if by_parameter else loaded(demo_server)
    shapes = annotated(function, of_task(*LABELS), to_polygons=not by_parameter)
    instances = Client(demo_server.url).predict(scene(0, 1)[0], score_threshold=0.5, classes=list(LABELS))
    drawn = Image.new("1", (SIZE, SIZE))
    for shape in shapes:
        assert shape.type.value == "polygon"
        ImageDraw.Draw(drawn).polygon(list(zip(shape.points[::2], shape.points[1::2], strict=True)), fill=1)
    masks, filled = instances.masks.any(axis=0), np.asarray(drawn)
    assert (masks & filled).sum() / (masks | filled).sum() > 0.95


def test_labels_that_the_network_lacks_are_named(demo_server: Server) -> None:
    with pytest.raises(
        cvataa.BadFunctionError, match=r'labels don\'t fit the network .* classes has "wolf", which is no'
    ):
        loaded(demo_server, labels="apple,wolf")
    with pytest.raises(cvataa.BadFunctionError, match="labels names no label; expected names separated by commas"):
        loaded(demo_server, labels=" , ")
    with pytest.raises(cvataa.BadFunctionError, match="shapes is 'box'; expected mask or polygon"):
        loaded(demo_server, shapes="box")


def test_labels_that_the_task_lacks_are_named_or_left_out(demo_server: Server) -> None:
    function = loaded(demo_server)
    with pytest.raises(cvataa.BadFunctionError, match="label 'apple' is not in dataset"):
        annotated(function, of_task("sports ball", "traffic light"))
    kept = annotated(function, of_task("sports ball", "traffic light"), allow_unmatched_labels=True)
    assert sorted(shape.label_id for shape in kept) == [700, 701]


def test_a_label_of_another_type_is_refused(demo_server: Server) -> None:
    with pytest.raises(
        cvataa.BadFunctionError, match="has type 'mask' in the function, but 'rectangle' in the dataset"
    ):
        annotated(loaded(demo_server), of_task(*LABELS, label_type="rectangle"))


def test_a_threshold_of_cvat_is_the_requests(demo_server: Server) -> None:
    context = _DetectionFunctionContextImpl(frame_name="0.png", conf_threshold=0.99)
    assert loaded(demo_server).detect(context, Image.fromarray(scene(0, 1)[0])) == []
