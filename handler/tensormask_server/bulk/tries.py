"""Counts the processes that died at each image, for instance because it needs too much memory."""

import contextlib
import json

from tensormask_server.bulk.places import Place

MOST_DEATHS = 3  # of processes at one image; killing a node or a whole run also counts as one


class Tries:
    """A file beside a part that is being written. A try that dies leaves the file behind.

    Ray repeats a part for ever if its actor dies. The first try notes only that it began. Each later try notes an image
    before it begins with the image.
    """

    def __init__(self, file: Place):
        self._file = file
        self._deaths: dict[str, int] = {}  # at each image that no try survived
        try:
            with file.filesystem.open_input_stream(file.path) as stream:
                content = stream.read()
        except FileNotFoundError:
            self.is_first = True
            self._write()
            return
        self.is_first = False
        try:
            self._deaths = dict(json.loads(content))
        except ValueError:  # half-written; it counts as one more try
            self._deaths = {}

    def is_hopeless(self, index: int) -> bool:
        """Whether MOST_DEATHS processes died at the part's image of this index."""
        return self._deaths.get(str(index), 0) >= MOST_DEATHS

    def begin(self, index: int) -> None:
        """Notes that this process begins with an image of the part."""
        self._deaths[str(index)] = self._deaths.get(str(index), 0) + 1
        self._write()

    def survived(self, index: int) -> None:
        """Forgets the deaths at an image, which is done."""
        del self._deaths[str(index)]

    def end(self) -> None:
        """Deletes the file, because the part is written. Another process may have deleted it first."""
        with contextlib.suppress(FileNotFoundError):
            self._file.filesystem.delete_file(self._file.path)

    def _write(self) -> None:
        with self._file.filesystem.open_output_stream(self._file.path) as stream:
            stream.write(json.dumps(self._deaths).encode())
