"""A model's configuration, weights and class names as files here: by the model's name, or by paths and URLs."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import yaml

from tensormask_server.models.cache import Wanted, cache_folder, check_digits, fetch
from tensormask_server.models.errors import ModelError
from tensormask_server.models.opening import check_url
from tensormask_server.models.table import SHIPPED, ListedModel, model_named, model_of_file, weights_url
from tensormask_server.plain_yaml import parse_plain_yaml
from tensormask_server.printable import printable
from tensormask_server.regular_files import MOST_TEXT, MOST_WEIGHTS, read_regular, sha256_of
from tensormask_server.yaml_bases import MAX_BYTES, base_names

MOST_BASES = 10  # that are downloaded with a configuration; the published ones have one


@dataclass(frozen=True)
class ModelFiles:
    """Paths of a model's files.

    Those of the package and of the cache exist. A path that a user gave is not checked here, but where it is read.
    """

    config: Path
    weights: Path
    class_names: Path | None = None  # None: COCO's, or none
    samples: Path | None = None  # a folder of images; None: there are none


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
    samples = SHIPPED / model.samples if model.samples else None
    if not model.is_published:
        return ModelFiles(config, weights_at(SHIPPED / model.weights, sha256=sha256), class_names, samples)
    path = weights_path(model)
    url = weights_url(model)
    check_url(url)
    if sha256 and not sha256.startswith(model.sha256):
        raise ModelError(
            f"--sha256 is {sha256}; the SHA-256 of {name} begins with {model.sha256}; for another file give its URL"
        )
    wanted = Wanted(name, url, path, MOST_WEIGHTS, sha256 or model.sha256, _by_hand(url, path))
    return ModelFiles(config, fetch(wanted, offline=offline), class_names, samples)


def weights_path(model: ListedModel) -> Path:
    """Where a published model's weights are in the cache."""
    return cache_folder() / model.name / model.file_name


def weights_at(given: str | Path, *, sha256: str | None = None, offline: bool = False) -> Path:
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
            check_digits(path, sha256_of(path, MOST_WEIGHTS), sha256, "--sha256")
        except OSError as error:
            raise ModelError(f"can't read the weights {printable(path)}: {error.strerror or error}") from error
    return path


def config_at(given: str | Path, *, offline: bool = False) -> Path:
    """The configuration of a path, as it is, or of an https URL, in the cache.

    What the configuration's `_BASE_` names beside it is downloaded as well.

    Raises:
        ModelError: it can't be downloaded.
    """
    if not is_url(given):
        return Path(given)
    config = _downloaded(str(given), MOST_TEXT, None, offline)
    paths = {str(given): config}  # by URL
    unread = [str(given)]
    while unread:
        url = unread.pop()
        for name in _relative_bases(paths[url]):
            base = urljoin(url, name)
            if base in paths:
                continue
            if len(paths) > MOST_BASES:
                raise ModelError(
                    f"{printable(given)} has more than {MOST_BASES} files of _BASE_; supported: {MOST_BASES}; fetch "
                    "them yourself, and give the configuration's path"
                )
            paths[base] = _downloaded(base, MOST_TEXT, None, offline)
            unread.append(base)
    return config


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


def _relative_bases(path: Path) -> list[str]:
    """What the `_BASE_` of a configuration names by paths relative to it."""
    try:
        tree = parse_plain_yaml(read_regular(path, MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # reported where the configuration is read
        return []
    names = base_names(tree) if isinstance(tree, dict) else []
    return [name for name in names if isinstance(name, str) and "://" not in name and not name.startswith(("/", "~"))]


def _by_hand(url: str, path: Path) -> str:
    return f"fetch it on a machine with the network: curl -fLO {printable(url)}; and put it at {printable(path)}"
