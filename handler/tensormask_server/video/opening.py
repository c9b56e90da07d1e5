"""Opens a video's file for FFmpeg, which can open no other file and no network by it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tensormask_server.printable import one_line, printable
from tensormask_server.regular_files import open_regular
from tensormask_server.video.errors import VideoError

if TYPE_CHECKING:
    from av.container import InputContainer

# FFmpeg's names of the formats that hold a video's frames themselves. Its playlists and scripts aren't among them.
FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf", "gxf", "nut", "wtv", "rm"),
    *("dv", "ivf", "h264", "hevc", "m4v", "mjpeg", "obu", "yuv4mpegpipe", "gif", "apng"),
)
OPTIONS = {
    "format_whitelist": ",".join(FORMATS),
    "protocol_whitelist": "none",  # it reads the open file, and nothing else
}
# what FFmpeg would read as well, by the start of its file
OTHER_FILES = {
    b"ffconcat version": "an FFmpeg script, which names other files",
    b"#EXTM3U": "a playlist, which names other files",
    b"v=0": "the description of a stream from a network (SDP)",
}
EXPECTED = "expected a video such as .mp4, .mov, .mkv or .avi"


@contextmanager
def opened_video(path: Path) -> Iterator["InputContainer"]:
    """Opens a video.

    Args:
        path: of a regular file. It is never read as a URL or as a pattern of names.

    Raises:
        VideoError: it isn't a video, or it has none of FORMATS.
        OSError: it can't be read.
    """
    import av

    with open_regular(path, sys.maxsize) as file:
        start = file.peek(max(map(len, OTHER_FILES))).lstrip()
        other = next((name for beginning, name in OTHER_FILES.items() if start.startswith(beginning)), None)
        if other is not None:
            raise VideoError(f"{printable(path)} is {other}; {EXPECTED}")
        try:
            container = av.open(file, "r", metadata_errors="replace", container_options=OPTIONS)
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise VideoError(
                f"{printable(path)} isn't a video that FFmpeg can read; {EXPECTED}, complete to its end"
            ) from error
        except av.error.ArgumentError as error:  # that of a format which isn't one of FORMATS
            raise VideoError(f"{printable(path)} isn't a video, or has a rare format; {EXPECTED}") from error
        except av.error.FFmpegError as error:
            raise VideoError(f"{printable(path)} can't be read as a video: {one_line(error.strerror)}") from error
        with container:
            yield container
