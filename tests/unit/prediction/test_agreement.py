"""Two results for one image: which detections are paired, and which pairs count as the same."""

from dataclasses import replace

import numpy as np
import pytest
from tensormask_server import Detections
from tensormask_server.prediction.agreement import pair_detections

from reference.cases import CASES, load_case


@pytest.mark.parametrize("name", CASES)
def test_the_references_result_is_the_same_as_itself_in_any_order(name: str) -> None:
    expected = load_case(name).expected
    order = np.random.default_rng(0).permutation(len(expected))
    masks = None if expected.masks is None else expected.masks[order]
    detections = Detections.of_masks(expected.boxes[order], expected.scores[order], expected.classes[order], masks)
    pairs = pair_detections(detections, expected)
    assert [pair.detection for pair in pairs] == np.argsort(order).tolist()
    assert [pair.reference for pair in pairs] == list(range(len(expected)))
    assert all(pair.is_same for pair in pairs)
    assert all(pair.mask_iou == (None if masks is None else 1) for pair in pairs)


EXPECTED = load_case("tiny").expected


def test_a_detection_of_another_class_or_elsewhere_has_no_pair() -> None:
    classes = EXPECTED.classes.copy()
    classes[0] = 99
    boxes = EXPECTED.boxes.copy()
    boxes[1] += 10_000
    pairs = pair_detections(replace(EXPECTED, classes=classes, boxes=boxes), EXPECTED)
    assert [(pair.detection, pair.reference) for pair in pairs] == [(i, i) for i in range(2, len(EXPECTED))]


def test_each_difference_is_measured_and_a_pair_beyond_a_tolerance_is_not_the_same() -> None:
    boxes, scores, masks = EXPECTED.boxes.copy(), EXPECTED.scores.copy(), EXPECTED.masks.copy()
    boxes[0, 2] += 0.04
    boxes[1, 3] += 0.06
    scores[2] -= 0.00009
    scores[3] -= 0.00011
    rows, columns = np.nonzero(masks[4])
    half = len(rows) // 2
    masks[4][rows[:half], columns[:half]] = False
    pairs = pair_detections(Detections.of_masks(boxes, scores, EXPECTED.classes, masks), EXPECTED)
    assert [pair.reference for pair in pairs if not pair.is_same] == [1, 3, 4]
    assert pairs[1].box_difference == pytest.approx(0.06, abs=1e-4)
    assert pairs[3].score_difference == pytest.approx(0.00011, abs=1e-6)
    assert pairs[4].mask_iou == pytest.approx(1 - half / len(rows))


def test_no_detection_is_in_two_pairs() -> None:
    doubled = (np.repeat(getattr(EXPECTED, name), 2, axis=0) for name in ("boxes", "scores", "classes"))
    twice = Detections(*doubled, image_masks=None)
    assert len(pair_detections(twice, EXPECTED)) == len(pair_detections(EXPECTED, twice)) == len(EXPECTED)


def test_an_empty_result_has_no_pairs() -> None:
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), None)
    assert pair_detections(nothing, EXPECTED) == pair_detections(EXPECTED, nothing) == []
