"""Replays a function on tensors of fixed shapes as one CUDA graph, which takes one launch in place of hundreds."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tensormask_server.network.dense import DenseMaps

logger = logging.getLogger(__name__)

MOST_SHAPES = 64  # of which it is remembered that they have been seen
SHARE_OF_MEMORY = 1 / 3  # of the GPU's, the most for graphs

Function = Callable[[Tensor], DenseMaps]


@dataclass(frozen=True)
class Recording:
    """A function that was recorded for one shape."""

    function: Function  # keeps alive what the recording reads
    replay: Function  # its results hold until the next call
    num_bytes: int  # of the device, that it keeps


class Graphs:
    """Recordings of one function by the shape of its argument. The first run of a shape isn't recorded.

    Once they take too much memory, the recording that was used least recently goes.
    """

    def __init__(self, record: Callable[[Function, Tensor], Recording], most_bytes: int):
        """
        Args:
            record: runs a function on a tensor and records it. It raises RuntimeError if that can't be done.
            most_bytes: of all recordings together.
        """
        self._record = record
        self._most_bytes = most_bytes
        self._seen: dict[tuple[int, ...], None] = {}  # shapes that were run, the latest last
        self._recordings: dict[tuple[int, ...], Recording] = {}  # likewise
        self._can_record = True

    def run(self, function: Function, argument: Tensor) -> DenseMaps:
        """The function's result, which holds until the next run.

        Args:
            function: the same one for all arguments of a shape.
            argument: on the device.
        """
        shape = tuple(argument.shape)
        recording = self._recordings.pop(shape, None)
        if recording is None:
            if not self._can_record or not self._was_seen(shape):
                return function(argument)
            recording = self._recorded(function, argument)
            if recording is None:
                return function(argument)
        self._recordings[shape] = recording
        self._drop_the_oldest()
        return recording.replay(argument)

    def clear(self) -> None:
        """Gives the memory of all recordings back. They are made again when they are needed."""
        self._recordings.clear()
        self._seen.clear()

    def _was_seen(self, shape: tuple[int, ...]) -> bool:
        """Whether a shape was seen before; it is from now on."""
        seen = shape in self._seen
        self._seen.pop(shape, None)
        self._seen[shape] = None
        if len(self._seen) > MOST_SHAPES:
            del self._seen[next(iter(self._seen))]
        return seen

    def _recorded(self, function: Function, argument: Tensor) -> Recording | None:
        try:
            return self._record(function, argument)
        except torch.OutOfMemoryError as error:
            logger.info("no CUDA graph for %s, because memory is short: %s", list(argument.shape), error)
            self.clear()
        except RuntimeError as error:
            logger.warning("CUDA graphs can't be used, and the network runs operation by operation: %s", error)
            self._can_record = False
        return None

    def _drop_the_oldest(self) -> None:
        while len(self._recordings) > 1 and self._num_bytes() > self._most_bytes:
            del self._recordings[next(iter(self._recordings))]

    def _num_bytes(self) -> int:
        return sum(each.num_bytes for each in self._recordings.values())


def graphs_for(device: torch.device) -> Graphs:
    """Graphs on a GPU, with a part of its memory. Another device has none: each run is the function itself."""
    if device.type != "cuda":
        return Graphs(record_nothing, 0)
    return Graphs(record_on_cuda, int(torch.cuda.get_device_properties(device).total_memory * SHARE_OF_MEMORY))


def record_nothing(function: Function, argument: Tensor) -> Recording:
    """Stands for recording where there is nothing to gain."""
    del argument
    return Recording(function, function, 0)


def record_on_cuda(function: Function, argument: Tensor) -> Recording:
    """Records a function as a CUDA graph.

    Raises:
        RuntimeError: it can't be recorded; torch's OutOfMemoryError is one.
    """
    device, kept = argument.device, argument.clone()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        function(kept)
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            result = function(kept)
    torch.cuda.current_stream(device).wait_stream(stream)

    def replay(images: Tensor) -> DenseMaps:
        kept.copy_(images)
        with torch.cuda.device(device):  # a worker's GPU may be another one than torch's current one
            graph.replay()
        return result

    return Recording(function, replay, max(torch.cuda.memory_reserved(device) - before, kept.nbytes))
