"""A model's configuration, weights and class names as files here: by the model's name, or by paths and URLs."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from tensormask_server.models.cache import Wanted, cache_folder, check_sha256, fetch
from tensormask_server.models.errors import ModelError
from tensormask_server.models.opening import check_url
from tensormask_server.models.table import SHIPPED, Model, model_named, model_of_file, weights_url
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_TEXT, MOST_WEIGHTS, read_text, sha256_of

MOST_BASES = 10  # configurations above one another; the published ones are two
BASE = re.compile(r"""^_BASE_:\s*["']?([^"'\s#]+)""", re.MULTILINE)


@dataclass(frozen=True)
class ModelFiles:
    """Files that exist, but for paths that a user gave: whoever reads those says what is wrong with them."""

    config: Path
    weights: Path
    class_names: Path | None = None  # None: COCO's, or none


def files_of_model(name: str, *, sha256: str | None = None, offline: bool = False) -> ModelFiles:
    """The files of a model of the table. Published weights are downloaded if they aren't in the cache.

    Args:
        sha256: the hash that the weights must have, 64 hex digits. None: only the table's are known.
        offline: never use the network.

    Raises:
        ModelError: no model has this name, or its weights can't be had.
    """
    model = model_named(name)
    config = SHIPPED / model.config
    class_names = SHIPPED / model.class_names if model.class_names else None
    if not model.is_published:
        return ModelFiles(config, local_weights(SHIPPED / model.weights, sha256=sha256), class_names)
    path = weights_path(model)
    url = weights_url(model)
    check_url(url)
    if sha256 and not sha256.startswith(model.sha256):
        raise ModelError(
            f"--sha256 is {sha256}; the SHA-256 of {name} begins with {model.sha256}; for another file give its URL"
        )
    wanted = Wanted(name, url, path, MOST_WEIGHTS, sha256 or model.sha256, _by_hand(url, path))
    return ModelFiles(config, fetch(wanted, offline=offline), class_names)


def weights_path(model: Model) -> Path:
    """Where a published model's weights are in the cache."""
    return cache_folder() / model.name / model.file_name


def local_weights(given: str | Path, *, sha256: str | None = None, offline: bool = False) -> Path:
    """The weights of a path, as they are, or of an https URL, in the cache.

    Args:
        given: a path or a URL.
        sha256: the hash that they must have. None: it isn't known.
        offline: never use the network.

    Raises:
        ModelError: they can't be downloaded, or have another hash; or the path has a published model's file name, and
            nothing is there.
    """
    if is_url(given):
        return _downloaded(str(given), MOST_WEIGHTS, sha256, offline)
    path = Path(given)
    model = model_of_file(path.name)
    if model and not path.exists():
        url = weights_url(model)
        raise ModelError(
            f"{printable(path)} isn't there; --model {model.name} downloads it from {printable(url)}; or "
            f"{_by_hand(url, path)}"
        )
    if sha256:
        try:
            check_sha256(path, sha256_of(path, MOST_WEIGHTS), sha256, "--sha256")
        except OSError as error:
            raise ModelError(f"can't read the weights {printable(path)}: {error.strerror or error}") from error
    return path


def local_config(given: str | Path, *, offline: bool = False) -> Path:
    """The configuration of a path, as it is, or of an https URL, in the cache.

    What the configuration's `_BASE_` names beside it is downloaded as well.

    Raises:
        ModelError: it can't be downloaded.
    """
    if not is_url(given):
        return Path(given)
    url = str(given)
    config = path = _downloaded(url, MOST_TEXT, None, offline)
    for _ in range(MOST_BASES):
        base = _base_of(path)
        if base is None:
            return config
        url = urljoin(url, base)
        path = _downloaded(url, MOST_TEXT, None, offline)
    raise ModelError(f"{printable(given)} has more than {MOST_BASES} files of _BASE_ above one another")


def is_url(given: str | Path) -> bool:
    """Whether this is a URL and not a path. A `Path` is always a path."""
    return isinstance(given, str) and "://" in given


def _downloaded(url: str, most: int, sha256: str | None, offline: bool) -> Path:
    check_url(url)
    path = path_of_url(url)
    advice = f"fetch it elsewhere with: curl -fLO {printable(url)}; and give the file's path in the place of the URL"
    return fetch(Wanted(printable(path.name), url, path, most, sha256 or "", advice), offline=offline)


def path_of_url(url: str) -> Path:
    """Where the file of a URL is in the cache. URLs that differ only behind a # have the same.

    Raises:
        ModelError: the URL names no file.
    """
    parts = urlsplit(url)
    folders = [part for part in parts.path.split("/") if part not in ("", ".", "..")]
    if not folders or parts.path.endswith("/"):
        raise ModelError(f"{printable(url)} names no file; expected https://HOST/PATH/FILE")
    place = cache_folder() / "urls" / quote(parts.netloc, safe="")
    if parts.query:
        place /= quote(f"?{parts.query}", safe="")[:200]
    return place.joinpath(*(part.replace("\\", "_")[:200] for part in folders))


def _base_of(path: Path) -> str | None:
    """The `_BASE_` of a configuration, where it is a path relative to it."""
    try:
        base = BASE.search(read_text(path))
    except (OSError, UnicodeDecodeError):  # whoever reads it says so
        return None
    if base is None or "://" in base[1] or base[1].startswith(("/", "~")):
        return None
    return base[1]


def _by_hand(url: str, path: Path) -> str:
    return f"fetch it on a machine with the network: curl -fLO {printable(url)}; and put it at {printable(path)}"
