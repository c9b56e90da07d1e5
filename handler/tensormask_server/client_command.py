"""Files and folders of images through a server, several at a time: python -m tensormask_server.client"""

import argparse
import errno
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TextIO

from tensormask_server.answer_files import files_below, fitting, is_file, leads_nowhere, read_small, real, write_whole
from tensormask_server.arguments import fraction, whole_number
from tensormask_server.client import BadImage, Client, NoAnswer, Options, Unreachable
from tensormask_server.formats import FORMATS
from tensormask_server.printable import one_line, printable
from tensormask_server.tokens import TokenError, add_token_options, token_of

NAME = "python -m tensormask_server.client"
URL = "http://127.0.0.1:8080/predictions/tensormask"
READ = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
IMAGES = (*READ, ".heic", ".heif", ".avif")  # what isn't read gets an error, instead of being left out unnoticed
ASKED = ".asked.json"  # among the answers: what was asked, as all of one folder are answers to the same
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)  # of a file system that takes fewer names than others


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an answer for each image that has none yet.

    Returns:
        0; 1 where images had no answer, each told on stderr; 2, with one line, for wrong usage, a server that can't
        be reached, or answers that can't be written; 130 after Ctrl-C.
    """
    parsed = _parser().parse_args(arguments)
    options: Options = {
        "score_threshold": parsed.score_threshold,
        "max_detections": parsed.max_detections,
        "classes": parsed.classes,
        "nms_threshold": parsed.nms_threshold,
        "mask_threshold": parsed.mask_threshold,
    }
    try:
        client = Client(parsed.url, token_of(parsed))
        sources = find_images(parsed.images, parsed.out, FORMATS[parsed.format].suffix)
        check_asked_alike(parsed.out, _asked(client, parsed.format, options))
        failed = answer_all(client, sources, parsed.format, options, parsed.at_once, parsed.out)
    except (UsageError, TokenError, Unreachable, OSError) as error:
        print(f"{NAME}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if failed:
        print(f"{NAME}: {failed} of {len(sources)} images had no answer", file=sys.stderr)
    return 1 if failed else 0


class UsageError(Exception):
    """Arguments that don't go together, in one line."""


def find_images(given: Sequence[Path], out: Path, suffix: str) -> dict[Path, Path]:
    """The images by the file that each one's answer is written to: in `out`, as it lies in the folder given.

    Raises:
        UsageError: there are none, or two would be written to one file.
    """
    sources: dict[Path, Path] = {}
    for path in given:
        for image, name in _images(path, out):
            target = out / name.with_name(fitting(name.name, suffix))
            other = sources.setdefault(target, image)
            if real(other) != real(image):
                both = f"{printable(other)} and {printable(image)}"
                raise UsageError(f"{both} would both be written to {printable(target)}; give them another --out")
    if not sources:
        raise UsageError(
            f"no images in {', '.join(map(printable, given))}; expected files that end in {' '.join(READ)}"
        )
    return sources


def check_asked_alike(out: Path, asked: Mapping[str, object]) -> None:
    """
    Raises:
        UsageError: the folder isn't one, or has answers to something else than what is asked now.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    try:
        before = json.loads(read_small(out / ASKED))
        if not isinstance(before, dict):
            raise ValueError("not an object")
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        advice = "name another --out, or delete it to go on here"
        raise UsageError(f"{printable(out / ASKED)} is damaged or can't be read; {advice}") from error
    for name, value in asked.items():
        if before.get(name) != value:
            was, now = (_as_said(each) for each in (before.get(name), value))
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{out} has answers to another {option}, {was} and not {now}; name another --out")


def _asked(client: Client, kind: str, options: Options) -> dict[str, object]:
    return {"url": client.url, "format": kind, **options}


def _as_said(value: object) -> str:
    return "the server's" if value is None else printable(value, 80)


def answer_all(
    client: Client, sources: Mapping[Path, Path], kind: str, options: Options, at_once: int, out: Path
) -> int:
    """Has those images answered whose file isn't there.

    Args:
        out: where, from the first answer on, a file says what is asked.

    Returns:
        How many had no answer; why is told on stderr.

    Raises:
        Unreachable: the server.
        OSError: an answer can't be written.
    """
    waiting = [target for target in sources if not _is_there(target)]
    failed = 0

    def answer(target: Path) -> None:
        answer = client.answer(sources[target], kind, **options)
        if not _is_there(out / ASKED):
            write_whole(out / ASKED, json.dumps(_asked(client, kind, options)).encode(), out)
        try:
            write_whole(target, answer.body, out)
        except OSError as error:
            if error.errno in NAME_ERRORS:
                raise BadImage(f"the answer can't have the name {printable(target)}: {error.strerror}") from error
            raise

    with (
        closing(_progress(len(sources), len(sources) - len(waiting))) as progress,
        ThreadPoolExecutor(at_once) as pool,
    ):
        futures = {pool.submit(answer, target): sources[target] for target in waiting}
        try:
            for future in as_completed(futures):
                try:
                    future.result()
                except NoAnswer as error:
                    failed += 1
                    progress.write(f"{printable(futures[future])}: {error}", file=sys.stderr)
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return failed


def _is_there(target: Path) -> bool:
    """Whether it is a file of ours. A link isn't, wherever it leads: it is replaced."""
    return is_file(target) and not target.is_symlink()


def _images(path: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Each with its name in `out`. A folder's exclude what is in `out`: answers may be images, too.

    Links to nothing and to themselves are among them, so that they get an error and aren't left out unnoticed.
    """
    if path.is_file():
        yield path, Path(path.name)
    elif not path.is_dir():
        raise UsageError(f"{printable(path)} is neither a file nor a folder")
    elif real(path).is_relative_to(real(out)):
        folders = f"the answers in {printable(out)} would lie among the images in {printable(path)}"
        raise UsageError(f"{folders}; name another --out")
    else:
        for image in files_below(path):
            is_answer = real(image).is_relative_to(real(out))
            is_readable = is_file(image) or leads_nowhere(image)
            if image.suffix.lower() in IMAGES and is_readable and not is_answer:
                yield image, image.relative_to(path)


class _Progress(Protocol):
    def update(self) -> object: ...
    def write(self, s: str, file: TextIO) -> None: ...
    def close(self) -> None: ...


def _progress(total: int, done: int) -> _Progress:
    if find_spec("tqdm") is None:
        return _Counter(total, done)
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="image")


class _Counter:
    """What of tqdm is used, where it isn't installed."""

    def __init__(self, total: int, done: int):
        self.total = total
        self.done = done

    def update(self) -> None:
        self.done += 1
        print(f"\r{self.done} of {self.total} images", end="", file=sys.stderr, flush=True)

    def write(self, s: str, file: TextIO) -> None:
        print(f"\r\033[K{s}" if file.isatty() else f"\n{s}", file=file)

    def close(self) -> None:
        print(file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Has images answered by a server. What is there already is left as it is."
    )
    add = parser.add_argument
    add("images", type=Path, nargs="+", metavar="IMAGE", help="a file, or a folder with folders in it")
    add("--url", default=URL, help="of the model (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="another one for another format or other options")
    add("--format", choices=tuple(FORMATS), default="coco", help="of the answers (default: %(default)s)")
    add("--score-threshold", type=fraction, metavar="0…1", help="find things with scores above it")
    add("--max-detections", type=int, metavar="N", help="on an image, the best ones")
    add("--classes", metavar="NAME,NAME", help="find these alone; names, or the network's numbers from 0")
    add("--nms-threshold", type=fraction, metavar="0…1", help="IoU of boxes above which the worse one is dropped")
    add("--mask-threshold", type=fraction, metavar="0…1", help="probability from which on a pixel is of the mask")
    add_token_options(parser)
    add("--at-once", type=whole_number(1), default=4, metavar="N", help="images at a time (default: %(default)s)")
    return parser
