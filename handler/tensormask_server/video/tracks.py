"""Ids of instances over the frames of a video, by ByteTrack of the package trackers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tensormask_server.printable import one_line
from tensormask_server.video.errors import VideoError

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

LEAST_SCORE = 0.5  # of a detection that begins a track; detections of lower scores only continue one
LOST_SECONDS = 1.0  # after which an instance that isn't seen has lost its id
LEAST_IOU = 0.1  # of an instance's box with the one that its movement predicts
TRACKERS_RATE = 30  # frames a second, in which the package counts how long an instance is lost

Ids = list[int | None]  # of the instances on a frame; None: the instance was seen on one frame only


@dataclass(frozen=True)
class Seen:
    """The N instances on one frame."""

    seconds: float  # when
    boxes: np.ndarray  # float32 (N, 4): x0 y0 x1 y1 in pixels
    scores: np.ndarray  # float32 (N,)
    category_ids: np.ndarray  # int64 (N,)


def track_ids(frames: Iterable[Seen], rate: float) -> list[Ids]:
    """Gives each instance an id that it keeps from frame to frame.

    Each class is tracked by itself, so an instance of one class never takes over the id of another class's.

    Args:
        frames: in the order of their times.
        rate: of these frames, a second.

    Returns:
        The ids of each frame's instances, from 1 in the order in which they appear.

    Raises:
        VideoError: the package trackers can't be imported.
    """
    trackers: dict[int, ByteTrackTracker] = {}
    numbers: dict[tuple[int, int], int] = {}  # from a category and its tracker's id to ours
    ids: list[Ids] = []
    before: Seen | None = None
    for seen in frames:
        now: Ids = [None] * len(seen.scores)
        for category in sorted({*trackers, *seen.category_ids.tolist()}):
            if category not in trackers:
                trackers[category] = _tracker(rate)
            for i, id_ in _updated(trackers[category], seen, category):
                key = category, id_
                if key not in numbers:
                    numbers[key] = len(numbers) + 1
                    if before is not None:
                        _name_first_sight(before, ids[-1], category, seen.boxes[i], numbers[key])
                now[i] = numbers[key]
        ids.append(now)
        before = seen
    return ids


def check_tracker() -> None:
    """Checks that the package trackers can be imported.

    Raises:
        VideoError: it can't.
    """
    _tracker(1.0)


def _tracker(rate: float) -> "ByteTrackTracker":
    try:
        from trackers import ByteTrackTracker
    except ImportError as error:  # OpenCV needs a library that servers don't have
        advice = "on Debian, apt-get install libgl1 brings libGL"
        raise VideoError(
            f"--track needs the package trackers, which can't start: {one_line(error)}; {advice}"
        ) from error
    lost = max(LOST_SECONDS, 2.5 / rate)  # of frames that lie far apart, one may miss an instance, too
    return ByteTrackTracker(
        lost_track_buffer=math.ceil(lost * TRACKERS_RATE),
        frame_rate=rate,
        track_activation_threshold=LEAST_SCORE,
        high_conf_det_threshold=LEAST_SCORE,
        minimum_iou_threshold=LEAST_IOU,
    )


def _updated(tracker: "ByteTrackTracker", seen: Seen, category: int) -> Iterable[tuple[int, int]]:
    """The index and the tracker's id of each instance of a category that has one."""
    import supervision as sv

    chosen = np.flatnonzero(seen.category_ids == category)
    detections = sv.Detections(
        xyxy=seen.boxes[chosen].reshape(-1, 4), confidence=seen.scores[chosen], data={"index": chosen}
    )
    tracked = tracker.update(detections, timestamp=seen.seconds)
    if len(tracked) == 0:
        return []
    pairs = zip(np.asarray(tracked.data["index"]).tolist(), np.asarray(tracked.tracker_id).tolist(), strict=True)
    return sorted((i, id_) for i, id_ in pairs if id_ >= 0)


def _name_first_sight(before: Seen, ids: Ids, category: int, box: np.ndarray, number: int) -> None:
    """Gives a new id also to the instance on the frame before. ByteTrack names an instance at its second sight.

    Args:
        before: the frame before.
        ids: of its instances; changed in place.
        category: of the instance.
        box: at its second sight, (4,).
        number: the new id.
    """
    free = [i for i, id_ in enumerate(ids) if id_ is None and before.category_ids[i] == category]
    overlaps = [_iou(before.boxes[i], box) for i in free]
    if overlaps and max(overlaps) >= LEAST_IOU:
        ids[free[int(np.argmax(overlaps))]] = number


def _iou(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / either) if either > 0 else 0.0
