"""A folder of responses: which image gets which file, and the options of all its responses."""

import errno
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tensormask_server.client.connection import Client
from tensormask_server.client.errors import BadImage, RequestError
from tensormask_server.client.options import Options
from tensormask_server.client.progress import progress_bar
from tensormask_server.client.response_files import (
    files_below,
    fitting,
    is_file,
    leads_nowhere,
    read_small,
    real,
    write_inside,
)
from tensormask_server.formats import FORMATS
from tensormask_server.image_files import READABLE, is_image_name
from tensormask_server.printable import is_one_line, printable
from tensormask_server.same_options import by_option, check_same_options

REQUEST = ".asked.json"  # in the folder: the options of all its responses
NAMED = 5  # of the files that were skipped
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)  # of a file system that allows fewer names than others


class UsageError(Exception):
    """The command's arguments can't be used together. The message has one line."""


@dataclass(frozen=True)
class Requests:
    """The request that is made for each image."""

    client: Client
    format: str
    options: Options

    def described(self) -> dict[str, object]:
        """All that the responses depend on, except the images."""
        return {"url": self.client.url, "format": self.format, **self.options}


@dataclass(frozen=True)
class Outcome:
    """How many images have a response, and how many got none."""

    existing: int  # responses that an earlier run has written
    written: int
    failed: int


def find_images(given: Sequence[Path], out: Path, format: str) -> tuple[dict[Path, Path], list[Path]]:
    """Finds the images in the files and folders given.

    Args:
        given: files, and folders, which can hold folders.
        out: the folder of the responses.
        format: of the responses; one of FORMATS.

    Returns:
        From the path of each response to the image. A response has the same relative path in `out` as its image has in
        the folder given. And the files of the folders that aren't named as images.

    Raises:
        UsageError: there are no images, or two images would have the same response file.
    """
    images: dict[Path, Path] = {}
    skipped: list[Path] = []
    for path in given:
        for image, name in _files(path, out):
            if name is None:
                skipped.append(image)
                continue
            target = out / name.with_name(fitting(name.name, FORMATS[format].suffix))
            other = images.setdefault(target, image)
            if real(other) != real(image):
                both = f"{printable(other)} and {printable(image)}"
                raise UsageError(f"{both} would both be written to {printable(target)}; give them another --out")
    if not images:
        expected = f"expected files that end in {' '.join(READABLE)}"
        raise UsageError(f"no images in {', '.join(map(printable, given))}; {expected}")
    return images, skipped


def check_folder(out: Path, requests: Requests) -> None:
    """Checks that the folder can take the responses to these requests.

    Raises:
        UsageError: `out` isn't a folder, or its note of the options can't be read.
        OptionsChanged: the folder holds responses to other options.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {printable(out)} is a file; expected a folder")
    try:
        earlier = json.loads(read_small(out / REQUEST))
        if not isinstance(earlier, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        advice = "name another --out, or delete it to go on here"
        raise UsageError(f"{printable(out / REQUEST)} is damaged or can't be read; {advice}") from error
    check_same_options(out, by_option(earlier), by_option(requests.described()), "--out")


def request_all(requests: Requests, images: Mapping[Path, Path], out: Path, at_once: int) -> Outcome:
    """Requests and writes the response to each image that has none yet.

    Args:
        requests: the server, the format and the options.
        images: from the path of each response to the image.
        out: the folder of the responses. With the first response, a file in it notes the options.
        at_once: how many requests run at the same time.

    Returns:
        How many images have a response. stderr says why others have none.

    Raises:
        Unreachable: no request can succeed.
        OSError: a response can't be written.
    """
    missing = [target for target in images if not _is_ours(target)]
    failed = 0

    def request(target: Path) -> None:
        image = images[target]
        options: Options = {**requests.options, **_named(image)}
        response = requests.client.request(image, requests.format, **options)
        if not _is_ours(out / REQUEST):
            write_inside(out, out / REQUEST, json.dumps(requests.described()).encode())
        try:
            write_inside(out, target, response.body)
        except OSError as error:
            if error.errno in NAME_ERRORS:
                raise BadImage(f"the response can't have the name {printable(target)}: {error.strerror}") from error
            raise

    with (
        closing(progress_bar(len(images), len(images) - len(missing))) as progress,
        ThreadPoolExecutor(at_once) as pool,
    ):
        futures = {pool.submit(request, target): images[target] for target in missing}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except RequestError as error:
                    failed += 1
                    progress.write(f"{printable(futures[future])}: {error}", file=sys.stderr)
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return Outcome(len(images) - len(missing), len(missing) - failed, failed)


def summary(outcome: Outcome, out: Path, skipped: Sequence[Path]) -> list[str]:
    """The lines that the command ends with: how many responses are where, and which files were skipped.

    Args:
        outcome: of the requests.
        out: the folder of the responses.
        skipped: files that aren't named as images.
    """
    count = outcome.existing + outcome.written
    responses = "1 response" if count == 1 else f"{count} responses"
    lines = [f"{responses} in {printable(out)}: {outcome.written} written now, {outcome.existing} there before"]
    if skipped:
        names = ", ".join(printable(path) for path in skipped[:NAMED])
        more = f" and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
        lines.append(f"skipped, as the name isn't an image's: {names}{more}")
    return lines


def _is_ours(target: Path) -> bool:
    """Whether it is a file that this command wrote. A link never is, and is replaced."""
    return is_file(target) and not target.is_symlink()


def _named(image: Path) -> Options:
    """The option that names an image in its response. A name that isn't a line of text isn't sent."""
    return {"file_name": image.name} if is_one_line(image.name) else {}


def _files(path: Path, out: Path) -> Iterator[tuple[Path, Path | None]]:
    """Each image with its relative path in `out`, and each other file with None.

    Files in `out` are left out, because responses can be images.

    Links to nothing and to themselves are included, so that the user gets an error for each.
    """
    if path.is_file():
        yield path, Path(path.name)
    elif not path.is_dir():
        raise UsageError(f"{printable(path)} is neither a file nor a folder; expected an image or a folder of images")
    elif real(path).is_relative_to(real(out)):
        folders = f"the responses in {printable(out)} would lie among the images in {printable(path)}"
        raise UsageError(f"{folders}; name another --out")
    else:
        for image in files_below(path):
            is_response = real(image).is_relative_to(real(out))
            is_readable = is_file(image) or leads_nowhere(image)
            if is_readable and not is_response:
                yield image, image.relative_to(path) if is_image_name(image.name) else None
