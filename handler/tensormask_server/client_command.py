"""Files and folders of pictures through a server, several at a time: python -m tensormask_server.client"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from threading import get_ident
from typing import Protocol, TextIO

from tensormask_server.arguments import fraction, whole_number
from tensormask_server.client import CONTENT_TYPES, Client, NoAnswer, Options, Unreachable

NAME = "python -m tensormask_server.client"
URL = "http://127.0.0.1:8080/predictions/tensormask"
READ = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PICTURES = (*READ, ".heic", ".heif", ".avif")  # what isn't read gets an error, instead of being left out unnoticed
ASKED = ".asked.json"  # among the answers: what was asked, as all of one folder are answers to the same
SUFFIXES = {"coco": ".json", "png": ".png", "labelmap": ".png", "polygons": ".json", "npz": ".npz", "torch": ".gz"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes an answer for each picture that has none yet.

    Returns:
        0; 1 where pictures had no answer, each told on stderr; 2, with one line, for wrong usage, a server that can't
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
        client = Client(parsed.url, parsed.token)
        sources = find_pictures(parsed.pictures, parsed.out, SUFFIXES[parsed.format])
        check_asked_alike(parsed.out, _asked(client, parsed.format, options))
        failed = answer_all(client, sources, parsed.format, options, parsed.at_once, parsed.out)
    except (UsageError, Unreachable, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if failed:
        print(f"{NAME}: {failed} of {len(sources)} pictures had no answer", file=sys.stderr)
    return 1 if failed else 0


class UsageError(Exception):
    """Arguments that don't go together, in one line."""


def find_pictures(given: Sequence[Path], out: Path, suffix: str) -> dict[Path, Path]:
    """The pictures by the file that each one's answer is written to: in `out`, as it lies in the folder given.

    Raises:
        UsageError: there are none, or two would be written to one file.
    """
    sources: dict[Path, Path] = {}
    for path in given:
        for picture, name in _pictures(path, out):
            target = out / name.with_name(name.name + suffix)
            other = sources.setdefault(target, picture)
            if other.resolve() != picture.resolve():
                raise UsageError(f"{other} and {picture} would both be written to {target}; give them another --out")
    if not sources:
        raise UsageError(f"no pictures in {', '.join(map(str, given))}; expected files that end in {' '.join(READ)}")
    return sources


def check_asked_alike(out: Path, asked: Mapping[str, object]) -> None:
    """
    Raises:
        UsageError: the folder isn't one, or has answers to something else than what is asked now.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; expected a folder")
    try:
        before = json.loads((out / ASKED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise UsageError(f"{out / ASKED} is damaged; name another --out, or delete it to go on here") from error
    for name, value in asked.items():
        if before.get(name) != value:
            was, now = (_as_said(each) for each in (before.get(name), value))
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{out} has answers to another {option}, {was} and not {now}; name another --out")


def _asked(client: Client, kind: str, options: Options) -> dict[str, object]:
    return {"url": client.url, "format": kind, **options}


def _as_said(value: object) -> str:
    return "the server's" if value is None else str(value)


def answer_all(
    client: Client, sources: Mapping[Path, Path], kind: str, options: Options, at_once: int, out: Path
) -> int:
    """Has those pictures answered whose file isn't there.

    Args:
        out: where, from the first answer on, a file says what is asked.

    Returns:
        How many had no answer; why is told on stderr.

    Raises:
        Unreachable: the server.
        OSError: an answer can't be written.
    """
    waiting = [target for target in sources if not target.exists()]
    failed = 0

    def answer(target: Path) -> None:
        answer = client.answer(sources[target], kind, **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (out / ASKED).exists():
            _write_whole(out / ASKED, json.dumps(_asked(client, kind, options)).encode())
        _write_whole(target, answer.body)

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
                    progress.write(f"{futures[future]}: {error}", file=sys.stderr)
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return failed


def _write_whole(path: Path, content: bytes) -> None:
    """So that a file that is there is whole, whenever this is killed."""
    part = path.with_name(f"{path.name}.{get_ident()}.part")
    part.write_bytes(content)
    part.replace(path)


def _pictures(path: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Each with its name in `out`. A folder's exclude what is in `out`: answers may be pictures, too."""
    if path.is_file():
        yield path, Path(path.name)
    elif not path.is_dir():
        raise UsageError(f"{path} is neither a file nor a folder")
    elif path.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"the answers in {out} would lie among the pictures in {path}; name another --out")
    else:
        for picture in sorted(path.rglob("*")):
            is_answer = picture.resolve().is_relative_to(out.resolve())
            if picture.suffix.lower() in PICTURES and picture.is_file() and not is_answer:
                yield picture, picture.relative_to(path)


class _Progress(Protocol):
    def update(self) -> object: ...
    def write(self, s: str, file: TextIO) -> None: ...
    def close(self) -> None: ...


def _progress(total: int, done: int) -> _Progress:
    if find_spec("tqdm") is None:
        return _Counter(total, done)
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="picture")


class _Counter:
    """What of tqdm is used, where it isn't installed."""

    def __init__(self, total: int, done: int):
        self.total = total
        self.done = done

    def update(self) -> None:
        self.done += 1
        print(f"\r{self.done} of {self.total} pictures", end="", file=sys.stderr, flush=True)

    def write(self, s: str, file: TextIO) -> None:
        print(f"\r\033[K{s}" if file.isatty() else f"\n{s}", file=file)

    def close(self) -> None:
        print(file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Has pictures answered by a server. What is there already is left as it is."
    )
    add = parser.add_argument
    add("pictures", type=Path, nargs="+", metavar="PICTURE", help="a file, or a folder with folders in it")
    add("--url", default=URL, help="of the model (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="another one for another format or other options")
    add("--format", choices=tuple(CONTENT_TYPES), default="coco", help="of the answers (default: %(default)s)")
    add("--score-threshold", type=fraction, metavar="0…1", help="find things with scores above it")
    add("--max-detections", type=int, metavar="N", help="on a picture, the best ones")
    add("--classes", metavar="NAME,NAME", help="find these alone; names, or the network's numbers from 0")
    add("--nms-threshold", type=fraction, metavar="0…1", help="IoU of boxes above which the worse one is dropped")
    add("--mask-threshold", type=fraction, metavar="0…1", help="probability from which on a pixel is of the mask")
    add("--token", help="for a server that wants one")
    add("--at-once", type=whole_number(1), default=4, metavar="N", help="pictures at a time (default: %(default)s)")
    return parser
