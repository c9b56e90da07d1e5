"""The command for a video: python -m tensormask_server.client video.mp4 --out video.masks.mp4 --track"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from tensormask_server.arguments import whole_number
from tensormask_server.client.errors import ClientError
from tensormask_server.client.folder import Requests, UsageError
from tensormask_server.client.progress import progress_bar
from tensormask_server.extras import VIDEO, missing_extra
from tensormask_server.printable import give_up_unprinted, one_line, printable, say
from tensormask_server.video.output import CONTAINERS
from tensormask_server.video.rows import SUFFIXES

if TYPE_CHECKING:
    from tensormask_server.video.records import Records

VIDEOS = (*CONTAINERS, ".avi", ".webm", ".ts", ".mts", ".mpg", ".wmv", ".3gp")  # that people have
RATE = 25  # frames a second of a folder of frames


class VideoStopped(Exception):
    """A run has stopped before its end. The message has one line, and says if the same command goes on."""


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only videos have. Their defaults are None or False, so that others can be refused."""
    group = parser.add_argument_group(
        "videos", f"IMAGE is one video or one folder of frames if --out ends in {' '.join(CONTAINERS)}"
    )
    add = group.add_argument
    add("--track", action="store_true", help="give instances ids that they keep from frame to frame, by ByteTrack")
    add("--every", type=whole_number(1), metavar="N", help="request one of N frames (default: each frame)")
    add("--table", type=Path, metavar="FILE", help="the table of instances, .csv or .parquet (default: beside --out)")
    add("--rate", type=whole_number(1), metavar="FPS", help=f"frames a second of a folder of frames (default: {RATE})")


def is_video(parsed: argparse.Namespace) -> bool:
    """Whether the arguments are about a video to write.

    Raises:
        UsageError: only a part of them is.
    """
    if parsed.out.suffix.lower() in CONTAINERS and not parsed.out.is_dir():
        return True
    expected = f"expected a file that ends in {' '.join(CONTAINERS)}"
    for name in ("track", "every", "table", "rate"):
        if getattr(parsed, name):
            raise UsageError(f"--{name} is for videos, and --out is {printable(parsed.out)}; {expected}")
    for image in parsed.images:
        if image.suffix.lower() in VIDEOS and image.is_file():
            raise UsageError(f"{printable(image)} is a video, and --out is {printable(parsed.out)}; {expected}")
    return False


def write_video(parsed: argparse.Namespace, requests: Requests) -> int:
    """Requests each frame's instances, and writes the video with their masks, and a table of them.

    Args:
        parsed: the command's arguments.
        requests: the server and the options.

    Returns:
        The exit status. 0: the video is complete. 1: damaged frames are left out, or the video is cut short.

    Raises:
        UsageError: the video, the frames or the options can't be used.
        OptionsChanged: an earlier run that wasn't finished had other options.
        VideoStopped: a frame gets no response, or a file can't be written. The responses before it are kept.
        OSError: the video can't be opened.
    """
    path, table = _checked(parsed)
    if not path.exists():
        raise UsageError(f"{printable(path)} is neither a file nor a folder; expected a video or a folder of frames")
    # only here, because they need packages that may not be installed
    from tensormask_server.video.errors import VideoError
    from tensormask_server.video.image_folder import open_image_folder
    from tensormask_server.video.output import check_sound
    from tensormask_server.video.records import Records
    from tensormask_server.video.run import Job, report, request_frames, write_results
    from tensormask_server.video.tracks import check_tracker
    from tensormask_server.video.video_file import open_video

    def request(pixels: np.ndarray) -> bytes:
        response = requests.client.request(pixels, "coco", **requests.options)
        requests.client.instances(response, pixels.shape[:2])
        return response.body

    try:
        is_folder = path.is_dir()
        source = open_image_folder(path, parsed.rate or RATE) if is_folder else open_video(path)
        check_sound(source, parsed.out)
        if parsed.track:
            check_tracker()
        job = Job(
            source=source,
            every=parsed.every or 1,
            track=parsed.track,
            video=parsed.out,
            table=table,
            at_once=parsed.at_once,
            request=request,
            progress=lambda verb, total, done: progress_bar(total, done, "frame", verb),
        )
        settings = {**requests.described(), "every": job.every, "video": source.fingerprint}
        _check_new(path, parsed.out, table)
        for file in (parsed.out, table):
            file.parent.mkdir(parents=True, exist_ok=True)
        _check_table(table)
        with Records(parsed.out, settings) as records:
            try:
                request_frames(job, records)
                outcome = write_results(job, records)
            except (ClientError, VideoError, OSError) as error:
                if records.count == 0:
                    records.delete()
                goes_on = not isinstance(error, VideoError)  # the video or a record of it stays as it is
                raise VideoStopped(f"{one_line(error)}; {_kept(records, goes_on)}") from error
            records.delete()
    except VideoError as error:
        raise UsageError(str(error)) from error
    first, *others = report(job, outcome)
    say(first)
    for line in others:
        say(line, sys.stderr)
    give_up_unprinted()
    return 1 if others else 0


def _checked(parsed: argparse.Namespace) -> tuple[Path, Path]:
    """The video or the folder of frames, and the table to write."""
    if len(parsed.images) != 1:
        raise UsageError(
            f"{len(parsed.images)} videos or folders are given; expected one, for --out {printable(parsed.out)}"
        )
    if parsed.format != "coco":
        raise UsageError(f"--format is {parsed.format}, which videos don't have; expected no --format")
    [path] = parsed.images
    if parsed.rate and not path.is_dir():
        raise UsageError(f"--rate is for a folder of frames; {printable(path)} isn't one")
    table = parsed.table or parsed.out.with_suffix(".csv")
    if table.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--table is {printable(table)}; expected a file that ends in {' or '.join(SUFFIXES)}")
    needed = VIDEO if parsed.track else {module: VIDEO[module] for module in ("av", "PIL")}
    if any(find_spec(module) is None for module in needed):
        raise UsageError(f"videos need packages of an extra: {missing_extra('video')}")
    if table.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise UsageError("a .parquet needs the package pyarrow: pip install pyarrow; a .csv doesn't")
    return path, table


def _check_new(path: Path, video: Path, table: Path) -> None:
    """Checks that the run overwrites nothing, unless it continues an earlier one."""
    from tensormask_server.video.records import records_file

    if video.exists() and video.samefile(path):
        raise UsageError(f"--out is the video itself, {printable(video)}; name another --out")
    if not records_file(video).exists():
        for existing in (video, table):
            if existing.exists():
                raise UsageError(f"{printable(existing)} exists; delete it, or name another --out")


def _check_table(table: Path) -> None:
    """Checks that the table can be written, which the run does last."""
    if table.is_dir():
        raise UsageError(f"--table {printable(table)} is a folder; expected a file")
    try:
        TemporaryFile(dir=table.parent).close()
    except OSError as error:
        raise UsageError(f"--table {printable(table)} can't be written: {error.strerror}; name another one") from error


def _kept(records: "Records", goes_on: bool) -> str:
    if records.count == 0:
        return "no frame has a response yet"
    frames = "1 frame has its response" if records.count == 1 else f"{records.count} frames have their responses"
    then = "and the same command goes on from there" if goes_on else f"in {printable(records.path)}"
    return f"{frames}, {then}"
