"""The sound of a video, as packets to copy."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from typing import TYPE_CHECKING

from tensormask_server.video.frames import Source
from tensormask_server.video.opening import opened_video

if TYPE_CHECKING:
    from av import Packet
    from av.stream import Stream


class Sound:
    """The packets of a source's sound, in order. It is empty for a source without sound.

    Use it as a context manager.
    """

    def __init__(self, source: Source):
        self._closing = ExitStack()
        self._container = self._closing.enter_context(opened_video(source.path)) if source.has_sound else None
        self._start = source.start
        self.streams = list(self._container.streams.audio) if self._container else []
        self._packets = self._read()
        self._next = next(self._packets, None)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def until(self, seconds: Fraction | None) -> Iterator["Packet[Stream]"]:
        """The next packets that begin before a time of the video, or all that are left."""
        while self._next is not None and (seconds is None or self._next[0] < seconds):
            yield self._next[1]
            self._next = next(self._packets, None)

    def _read(self) -> Iterator[tuple[Fraction, "Packet[Stream]"]]:
        import av

        if self._container is None:
            return
        try:
            for packet in self._container.demux(self.streams):
                if packet.dts is not None and packet.pts is not None:
                    shift = round(self._start / packet.time_base)
                    packet.pts -= shift
                    packet.dts -= shift
                    yield packet.dts * packet.time_base, packet
        except av.error.FFmpegError:  # the video is cut short, which its frames report
            return
