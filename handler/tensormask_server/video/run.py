"""A run: the response to each frame, which outlives the run, and then the video and its table."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from tensormask_server.instances import Instances, read_instances
from tensormask_server.printable import printable
from tensormask_server.video.drawing import draw_instances
from tensormask_server.video.errors import VideoError
from tensormask_server.video.frames import Damage, Frame, Source
from tensormask_server.video.output import write_video
from tensormask_server.video.records import Record, Records
from tensormask_server.video.rows import Row, rows_of, write_rows
from tensormask_server.video.tracks import Ids, Seen, track_ids

NAMED = 5  # damaged frames in the report
ENDS_EARLY = 0.5  # seconds that frames may end before the video's end


class Progress(Protocol):
    """What shows how many frames are done."""

    def update(self) -> object: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Job:
    """What a run makes of a source."""

    source: Source
    every: int  # of so many frames, one gets a response
    track: bool
    video: Path
    table: Path
    at_once: int  # requests at the same time
    request: Callable[[np.ndarray], bytes]  # from a frame's pixels to its response in the format coco
    progress: Callable[[str, int, int], Progress]  # what is counted, how many there are, how many are done


@dataclass(frozen=True)
class Outcome:
    """What a run has made."""

    frames: int  # in the video
    responses: int
    instances: int  # on all frames together; rows of the table
    tracks: int  # ids
    damage: Damage
    ends_at: float  # seconds; where the video's frames end


def request_frames(job: Job, records: Records) -> None:
    """Requests and keeps the responses to the frames that have none yet, several at a time and in order.

    Args:
        job: what to do.
        records: of earlier runs. They are kept, whatever happens.

    Raises:
        VideoError: a frame has another size than the first one.
        What `job.request` raises. All responses before it are kept.
    """
    done = records.count
    total = -(-job.source.expected // job.every)
    waiting: deque[tuple[Frame, Future[bytes]]] = deque()
    with closing(job.progress("request", total, done)) as progress, ThreadPoolExecutor(job.at_once) as pool:

        def keep_first() -> None:
            frame, future = waiting.popleft()
            records.append(frame.index, frame.pts, future.result())
            progress.update()

        try:
            for frame in _chosen(job):
                if frame.index > records.last_frame:
                    waiting.append((frame, pool.submit(job.request, frame.pixels)))
                if len(waiting) > job.at_once:
                    keep_first()
            while waiting:
                keep_first()
        finally:
            pool.shutdown(cancel_futures=True)


def write_results(job: Job, records: Records) -> Outcome:
    """Writes the video and its table from the responses to all frames.

    Raises:
        VideoError: the video changes while it is read, or it can't be encoded.
        OSError: a file can't be written.
    """
    ids = _ids(job, records)
    shown = _Shown()

    def rows() -> Iterator[Row]:
        for record, of_frame in zip(records, ids, strict=True):
            yield from rows_of(record, job.source.seconds(record.pts), of_frame)

    write_rows(job.table, rows())
    with closing(job.progress("write", job.source.expected, 0)) as progress:
        write_video(job.video, job.source, _pictures(job, records, ids, shown, progress))
    return Outcome(
        frames=shown.frames,
        responses=len(ids),
        instances=sum(map(len, ids)),
        tracks=max((id_ or 0 for of_frame in ids for id_ in of_frame), default=0),
        damage=shown.damage,
        ends_at=shown.ends_at,
    )


def report(job: Job, outcome: Outcome) -> list[str]:
    """The lines that a run ends with. Lines about damage come after the first one."""
    tracked = f" of {outcome.tracks} instances" if job.track else ""
    of = "" if job.every == 1 else f", {outcome.responses} of them requested"
    table = f"{printable(job.table)}: {outcome.instances} rows{tracked}"
    lines = [f"{printable(job.video)}: {outcome.frames} frames{of}; {table}"]
    if outcome.damage.frames:
        names = ", ".join(outcome.damage.frames[:NAMED])
        more = f" and {len(outcome.damage.frames) - NAMED} more" if len(outcome.damage.frames) > NAMED else ""
        count = len(outcome.damage.frames)
        lines.append(f"{count} damaged {'frame is' if count == 1 else 'frames are'} left out: at {names}{more}")
    if outcome.damage.cut_short or outcome.ends_at < job.source.duration - ENDS_EARLY:
        ends = f"ends at {outcome.ends_at:.2f} s of {job.source.duration:.2f} s"
        why = f": {outcome.damage.cut_short}" if outcome.damage.cut_short else ""
        lines.append(f"{printable(job.source.path)} is cut short, and {ends}{why}")
    return lines


@dataclass
class _Shown:
    """What has been written of a video."""

    damage: Damage = field(default_factory=Damage)
    frames: int = 0
    ends_at: float = 0.0  # seconds


def _chosen(job: Job) -> Iterator[Frame]:
    """The frames that get a response."""
    return (frame for frame in _same_size(job.source, Damage()) if frame.index % job.every == 0)


def _same_size(source: Source, damage: Damage) -> Iterator[Frame]:
    for frame in source.read(damage):
        height, width, _ = frame.pixels.shape
        if (width, height) != (source.width, source.height):
            sizes = f"{width}×{height} pixels, and earlier ones {source.width}×{source.height}"
            raise VideoError(f"frame {frame.index} of {printable(source.path)} has {sizes}; expected one size")
        yield frame


def _pictures(
    job: Job, records: Iterable[Record], ids: Iterable[Ids], shown: _Shown, progress: Progress
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Each frame with what the video shows: its instances, or those of the last frame before it that has a response."""
    left = zip(records, ids, strict=True)
    following = next(left, None)
    instances: Instances | None = None
    names: Ids = []
    for frame in _same_size(job.source, shown.damage):
        if following is not None and following[0].frame <= frame.index:
            record, names = following
            instances = _of_frames(record, job.source)
            following = next(left, None)
        yield frame, frame.pixels if instances is None else draw_instances(frame.pixels, instances, names)
        shown.frames += 1
        shown.ends_at = job.source.seconds(frame.pts + frame.duration)
        progress.update()


def _of_frames(record: Record, source: Source) -> Instances:
    instances = read_instances(json.dumps(record.response).encode(), "")
    if (instances.width, instances.height) != (source.width, source.height):
        found = f"the response to frame {record.frame} is for {instances.width}×{instances.height} pixels"
        expected = f"expected {source.width}×{source.height}, as the frames have"
        raise VideoError(f"{found}; {expected}; delete the file of responses to begin again")
    return instances


def _ids(job: Job, records: Iterable[Record]) -> list[Ids]:
    """The ids of the instances of each record; all None without --track."""
    if not job.track:
        return [[None] * len(record.response["instances"]) for record in records]
    return track_ids(
        (_seen(record, job.source.seconds(record.pts)) for record in records), float(job.source.rate) / job.every
    )


def _seen(record: Record, seconds: float) -> Seen:
    instances = record.response["instances"]
    boxes = np.array([each["bbox"] for each in instances], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = np.array([each["score"] for each in instances], np.float32)
    return Seen(seconds, boxes, scores, np.array([each["category_id"] for each in instances], np.int64))
