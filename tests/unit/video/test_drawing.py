"""What a frame of a video shows."""

import numpy as np
import pytest
from tensormask_server.instances import Instances
from tensormask_server.video.drawing import draw_instances

PIXELS = np.full((60, 80, 3), 100, np.uint8)


def instances(*boxes: tuple[float, float, float, float], masks: np.ndarray | None) -> Instances:
    return Instances(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, np.float32),
        category_ids=np.full(len(boxes), 17, np.int64),
        names=("cat",) * len(boxes),
        masks=masks,
        width=80,
        height=60,
        model="m",
        weights_sha256="0",
        timing={},
    )


def test_all_of_a_mask_is_tinted_also_beyond_its_box() -> None:
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 30:50, 20:60] = True
    drawn = draw_instances(PIXELS, instances((30, 35, 50, 45), masks=masks), [1])
    changed = (drawn != PIXELS).any(axis=-1)
    assert changed[masks[0]].all()
    assert not changed[51:].any()  # below it; the label is above
    assert (PIXELS == 100).all()


def test_an_instance_has_the_colour_of_its_id() -> None:
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 40:50, 10:20] = masks[1, 40:50, 50:60] = True
    found = instances((10, 40, 20, 50), (50, 40, 60, 50), masks=masks)
    first = draw_instances(PIXELS, found, [3, 8])
    later = draw_instances(PIXELS, found, [8, 3])
    np.testing.assert_array_equal(first[45, 15], later[45, 55])
    assert (first[45, 15] != first[45, 55]).any()


@pytest.mark.parametrize("box", [(-5, -5, 200, 200), (79, 59, 80, 60), (10, 10, 10, 10)])
def test_boxes_at_the_border_and_empty_masks_are_drawn(box: tuple[float, float, float, float]) -> None:
    assert draw_instances(PIXELS, instances(box, masks=np.zeros((1, 60, 80), bool)), [None]).shape == PIXELS.shape
    assert draw_instances(PIXELS, instances(box, masks=None), [1]).shape == PIXELS.shape


def test_a_frame_without_instances_is_as_it_was() -> None:
    np.testing.assert_array_equal(draw_instances(PIXELS, instances(masks=None), []), PIXELS)
