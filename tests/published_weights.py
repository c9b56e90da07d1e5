"""Synthetic weights that pass for published ones: of their shapes, and with a SHA-256 of the same first digits."""

import hashlib
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tensormask_server.models.table import ListedModel

from reference.cases import load_case
from reference.synthetic_weights import synthetic_state
from tests.certificates import self_signed
from tests.mirror import Mirror, mirror_with

PLACE = "@" * 12  # where the number stands that gives the hash its digits
# numbers found by `content_with_digits`, so that it needn't search; where NumPy pickles otherwise it searches a minute
FOUND = {"e8df31": 17_445_193}


def published_content(digits: str) -> bytes:
    """The bytes of a .pkl with the published R50 network's entries."""
    case = load_case("r50")
    state = synthetic_state(case.shapes, case.seed)
    return content_with_digits(pickle.dumps({"model": state, "__author__": PLACE}, protocol=4), digits)


@contextmanager
def mirror_of(model: ListedModel, folder: Path) -> Iterator[tuple[Mirror, dict[str, str]]]:
    """A mirror that has weights of a published model's shapes and size, with its hash's digits.

    Args:
        folder: for the mirror's certificate and for a cache.

    Returns:
        The mirror, and the environment variables with which the commands use it.
    """
    content = published_content(model.sha256)
    assert abs(len(content) - model.size) < 1e6
    with mirror_with(*self_signed(folder)) as mirror:
        mirror.files[f"/mirror/{model.weights}"] = content
        yield (
            mirror,
            {
                "TENSORMASK_CACHE": str(folder / "cache"),
                "TENSORMASK_MODEL_URL": f"{mirror.url}/mirror",
                "SSL_CERT_FILE": str(mirror.certificate),
                "OMP_NUM_THREADS": "1",  # two threads wait for each other: on a busy machine ten times as long
            },
        )


def content_with_digits(content: bytes, digits: str) -> bytes:
    """The content with a number in PLACE, so that its SHA-256 begins with these hex digits."""
    start = content.rindex(PLACE.encode())
    begun = hashlib.sha256(content[:start])
    end = content[start + len(PLACE) :]
    wanted, half = bytes.fromhex(digits), len(digits) // 2
    for number in count(FOUND.get(digits, 0)):
        text = f"{number:0{len(PLACE)}d}".encode() + end
        hashed = begun.copy()
        hashed.update(text)
        if hashed.digest()[:half] == wanted:
            return content[:start] + text
    raise AssertionError  # count has no end
