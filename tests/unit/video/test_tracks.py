"""Ids by the real ByteTrack of the package trackers, on boxes with known ways."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from tensormask_server.video.tracks import Seen, track_ids

pytestmark = pytest.mark.skipif(find_spec("trackers") is None, reason="the package trackers isn't installed")

CAT, DOG = 17, 18


def seen(seconds: float, *instances: tuple[int, float, float], score: float = 0.9, side: float = 40) -> Seen:
    """What is on a frame: a category and the left upper corner of each square."""
    boxes = np.array([(x, y, x + side, y + side) for _, x, y in instances], np.float32).reshape(-1, 4)
    scores = np.full(len(instances), score, np.float32)
    return Seen(seconds, boxes, scores, np.array([category for category, _, _ in instances], np.int64))


def passing(count: int, order: Sequence[int]) -> list[Seen]:
    """Two cats that pass each other in opposite directions, a pixel apart, in this order on every second frame."""
    frames = []
    for t in range(count):
        both = [(CAT, 10.0 * t, 100.0), (CAT, 10.0 * (count - 1 - t), 141.0)]
        frames.append(seen(t / 25, *(both[i] for i in (order if t % 2 else (0, 1)))))
    return frames


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ids_do_not_swap_where_two_of_a_class_pass_without_touching(order: tuple[int, int]) -> None:
    ids = track_ids(passing(30, order), 25)
    assert set(ids[0]) == {1, 2}
    for t, of_frame in enumerate(ids):
        assert [of_frame[i] for i in (order if t % 2 else (0, 1))] == ids[0], t


def test_an_instance_of_another_class_at_the_same_place_has_its_own_id() -> None:
    ids = track_ids((seen(t / 25, (CAT, 5 * t, 50), (DOG, 100 - 5 * t, 50)) for t in range(20)), 25)
    assert ids == [[1, 2]] * 20


def test_an_instance_keeps_its_id_while_it_is_hidden_for_less_than_a_second() -> None:
    frames = [seen(t / 25, *([] if 10 <= t < 20 else [(CAT, 3 * t, 50)])) for t in range(30)]
    assert track_ids(frames, 25) == [[1]] * 10 + [[]] * 10 + [[1]] * 10


def test_after_more_than_a_second_it_is_another_instance() -> None:
    frames = [seen(t / 25, *([] if 10 <= t < 50 else [(CAT, 50, 50)])) for t in range(60)]
    assert {id_ for of_frame in track_ids(frames, 25)[50:] for id_ in of_frame} == {2}


def test_what_was_seen_once_has_no_id() -> None:
    frames = [seen(t / 25, (CAT, 50, 50), *([(CAT, 200, 200)] if t == 5 else [])) for t in range(10)]
    assert track_ids(frames, 25)[5] == [1, None]


def test_a_low_score_continues_a_track_and_begins_none() -> None:
    frames = [seen(t / 25, (CAT, 50, 50), score=0.9 if t < 5 else 0.2) for t in range(10)]
    assert track_ids(frames, 25) == [[1]] * 10
    assert track_ids([seen(t / 25, (CAT, 50, 50), score=0.2) for t in range(10)], 25) == [[None]] * 10


@pytest.mark.parametrize("rate", [0.5, 1, 25, 240])
def test_ids_hold_at_any_rate_of_frames(rate: float) -> None:
    frames = [seen(t / rate, (CAT, 5 * t, 50), (CAT, 5 * t, 150)) for t in range(12)]
    assert track_ids(frames, rate) == [[1, 2]] * 12


def test_times_may_be_uneven() -> None:
    times = np.cumsum([0.04, 0.2, 0.01, 0.3, 0.04, 0.1, 0.02, 0.5, 0.04, 0.04])
    frames = [seen(float(time), (CAT, 60 * time, 50), (CAT, 200 - 60 * time, 92)) for time in times]
    assert track_ids(frames, 25) == [[1, 2]] * 10


def test_no_frames_and_empty_frames() -> None:
    assert track_ids([], 25) == []
    assert track_ids([seen(0), seen(1)], 25) == [[], []]
