"""Counts the processes that died at each image, for instance because it takes more memory than there is."""

import contextlib
import json

from tensormask_server.bulk.places import Place

MOST_DEATHS = 3  # of processes at one image; a node or a whole run that is killed counts as one, too


class Tries:
    """A file beside a part that is being written. A try that dies leaves the file behind.

    Ray tries a part again for ever where its actor dies. The first try only notes that it began. Each later try notes
    an image before it begins with the image.
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
        except ValueError:  # half-written: counts as one more try
            self._deaths = {}

    def is_hopeless(self, index: int) -> bool:
        """Whether the part's image of this index has ended as many processes as it may."""
        return self._deaths.get(str(index), 0) >= MOST_DEATHS

    def begin(self, index: int) -> None:
        self._deaths[str(index)] = self._deaths.get(str(index), 0) + 1
        self._write()

    def survived(self, index: int) -> None:
        del self._deaths[str(index)]

    def end(self) -> None:
        """Deletes the file: the part is written. Another process may have written it first."""
        with contextlib.suppress(FileNotFoundError):
            self._file.filesystem.delete_file(self._file.path)

    def _write(self) -> None:
        with self._file.filesystem.open_output_stream(self._file.path) as stream:
            stream.write(json.dumps(self._deaths).encode())
