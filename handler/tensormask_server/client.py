"""A client of the server, of numpy and the standard library alone; and a command for many pictures.

python -m tensormask_server.client PICTURE… --url http://127.0.0.1:8080/predictions/tensormask --out DIR --format png
"""

import argparse
import http.client
import json
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

TIMEOUT = 600  # seconds; the server gives a request up long before
WAITS = (0.5, 1, 2, 4, 8, 16, 32)  # seconds before each further try; a worker that has died is back by then
OPTIONS = ("score_threshold", "max_detections", "classes", "nms_threshold", "mask_threshold")
# what a format's file is called
SUFFIXES = {
    "coco": ".json",
    "png": ".png",
    "labelmap": ".png",
    "polygons": ".json",
    "npz": ".npz",
    "torch": ".pt.gz",
}
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


class ClientError(Exception):
    """No answer; why, in one line."""


class Refused(ClientError):
    """The server doesn't answer this picture, and would not another time."""


class Unavailable(ClientError):
    """No server is there, or it stays too busy."""


@dataclass(frozen=True)
class Instances:
    """What was found on one picture, best score first; N things, on a picture of H×W pixels."""

    boxes: np.ndarray  # float32 (N, 4), x0 y0 x1 y1 in the picture's pixels
    scores: np.ndarray  # float32 (N,), falling
    category_ids: np.ndarray  # int64 (N,), COCO's for classes with COCO's names
    names: tuple[str, ...]  # of the categories
    masks: np.ndarray | None  # bool (N, H, W); None from a network without masks

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Client:
    """What a program needs to have its pictures answered."""

    url: str  # of the model's predictions
    token: str | None = None  # of a server that wants one
    waits: tuple[float, ...] = WAITS

    def predict(self, picture: str | Path | bytes | np.ndarray, **options: Any) -> Instances:
        """
        Args:
            picture: a file's path, a file's bytes, or uint8 (H, W, 3), RGB.
            options: score_threshold, max_detections, classes (names or numbers), nms_threshold, mask_threshold.

        Raises:
            Refused: the server doesn't answer this picture, or an option isn't one of these.
            Unavailable: no server is there, or it stays too busy.
            OSError: the file can't be read.
        """
        return parse_instances(self.fetch(picture, "coco", **options))

    def fetch(self, picture: str | Path | bytes | np.ndarray, kind: str, **options: Any) -> bytes:
        """The server's answer as it is, in one of its formats. Arguments and errors as of `predict`."""
        unknown = [name for name in options if name not in OPTIONS]
        if unknown:
            raise Refused(f"{unknown[0]} is not an option; the options are {', '.join(OPTIONS)}")
        headers = {"Content-Type": "application/octet-stream", "Format": kind}
        headers |= {name: _spelt(value) for name, value in options.items() if value is not None}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url, _bytes_of(picture), headers, method="POST")
        for wait in self.waits:
            try:
                return self._post(request)
            except _Busy:
                time.sleep(wait)
        try:
            return self._post(request)
        except _Busy as error:
            raise Unavailable(f"{error}, {len(self.waits) + 1} times") from error

    def _post(self, request: urllib.request.Request) -> bytes:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            told = _told(error.code, error.read())
            raise (_Busy(told) if error.code == 503 else Refused(told)) from error
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ConnectionResetError | BrokenPipeError | http.client.IncompleteRead):
                size = len(request.data or b"") / 1e6  # type: ignore[arg-type]  # one over the server's limit looks like this, too
                raise _Busy(f"the server ended the connection on {size:.1f} MB ({cause})") from error
            raise Unavailable(f"no server answers at {self.url}: {cause}") from error


class _Busy(Exception):
    """Worth another try."""


def parse_instances(answer: bytes) -> Instances:
    """
    Args:
        answer: of the format coco.

    Raises:
        Refused: it isn't an answer of this server.
    """
    try:
        content = json.loads(answer)
        found = content["instances"]
        boxes = np.array([each["bbox"] for each in found], np.float32).reshape(-1, 4)
        with_masks = all("segmentation" in each for each in found)
        masks = [decode_mask(each["segmentation"]) for each in found] if with_masks else None
        shape = (content["height"], content["width"])
        return Instances(
            boxes=boxes + np.pad(boxes[:, :2], ((0, 0), (2, 0))),
            scores=np.array([each["score"] for each in found], np.float32),
            category_ids=np.array([each["category_id"] for each in found], np.int64),
            names=tuple(each["category_name"] for each in found),
            masks=None if masks is None else np.array(masks, bool).reshape(-1, *shape),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Refused(f"an answer that isn't this server's: {answer[:60]!r}") from error


def decode_mask(segmentation: dict[str, Any]) -> np.ndarray:
    """COCO's compressed run lengths, {"size": [H, W], "counts": text}, to bool (H, W)."""
    height, width = segmentation["size"]
    counts: list[int] = []
    count = shift = 0
    for character in segmentation["counts"].encode():
        bits = character - 48  # five of the number, the lowest first, and one that says whether more follow
        count |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                count -= 1 << shift
            counts.append(count + (counts[-2] if len(counts) > 2 else 0))
            count = shift = 0
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask: np.ndarray = flat.reshape(width, height).T
    return mask


def encode_png(picture: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W, 3), RGB, compressed a little.

    Raises:
        Refused: it isn't such an array.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        raise Refused(f"the picture is {picture.dtype} {picture.shape}; expected uint8 (H, W, 3), RGB")
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter, 0 for none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _bytes_of(picture: str | Path | bytes | np.ndarray) -> bytes:
    if isinstance(picture, np.ndarray):
        return encode_png(picture)
    return picture if isinstance(picture, bytes) else Path(picture).read_bytes()


def _spelt(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _told(status: int, body: bytes) -> str:
    """An error in the server's words: ours stands in {"error", "expected"}, TorchServe's own in {"message"}."""
    if status == 413:
        return (
            "413: the file is larger than the server takes: shrink it, or raise max_request_size in config.properties"
        )
    try:
        content = json.loads(body)
        if "error" in content:
            return f"{status}: {content['error']}; expected: {content['expected']}"
        return f"{status}: {content['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{status}: {body[:200].decode(errors='replace') or 'without a word'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 where a picture failed; 2 where no server is there or there is nothing to do."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    pictures = _pictures(parsed.pictures)
    if not pictures:
        parser.error(f"no pictures there ({', '.join(PICTURE_SUFFIXES)})")
    client = Client(parsed.url, parsed.token)
    options = {name: getattr(parsed, name) for name in OPTIONS}
    todo = {source: parsed.out / name.with_suffix(SUFFIXES[parsed.format]) for source, name in pictures.items()}
    for target, times in Counter(todo.values()).items():
        if times > 1 or target in todo:
            parser.error(f"{target} would be the answer of two pictures, or is one itself: choose another --out")
    waiting = {source: target for source, target in todo.items() if not target.exists()}
    failed, done = 0, len(todo) - len(waiting)
    with ThreadPoolExecutor(parsed.at_once) as pool:
        try:
            answer = partial(_answer, client, parsed.format, options)
            for error in pool.map(answer, waiting, waiting.values()):
                done += 1
                if error:
                    failed += 1
                    print(f"\r{error}", file=sys.stderr)
                print(f"\r{done}/{len(todo)}", end="", file=sys.stderr, flush=True)
        except Unavailable as error:
            pool.shutdown(cancel_futures=True)
            print(f"\r{error}", file=sys.stderr)
            return 2
    print(file=sys.stderr)
    return 1 if failed else 0


def _answer(client: Client, kind: str, options: dict[str, Any], source: Path, target: Path) -> str | None:
    """Writes one answer, whole or not at all; what went wrong, where only this picture is the reason."""
    try:
        content = client.fetch(source, kind, **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial_file = target.with_name(f".{target.name}.part")
        partial_file.write_bytes(content)
        partial_file.replace(target)
    except (Refused, OSError) as error:
        return f"{source}: {error}"
    return None


def _pictures(sources: list[Path]) -> dict[Path, Path]:
    """The pictures, of folders all that are in them, with the paths that their answers get."""
    found: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
            found |= {path: path.relative_to(source) for path in inside}
        else:
            found[source] = Path(source.name)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tensormask_server.client", description="Has pictures answered.")
    add = parser.add_argument
    add("pictures", type=Path, nargs="+", help="files, and folders with everything in them")
    add("--url", required=True, help="http://HOST:8080/predictions/MODEL")
    add("--out", type=Path, required=True, help="folder for the answers; those that are there are not asked for again")
    add("--format", choices=SUFFIXES, default="coco", help="(default: %(default)s)")
    add("--token", help="of a server that wants one")
    add("--at-once", type=int, default=4, help="pictures (default: %(default)s)")
    for name in OPTIONS:
        add(f"--{name.replace('_', '-')}", metavar="VALUE", help="as the server's option")
    return parser


if __name__ == "__main__":
    sys.exit(main())
