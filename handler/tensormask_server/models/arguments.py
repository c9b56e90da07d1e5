"""The commands' options that say which model: by name, or by a configuration and weights."""

import argparse
import re
from pathlib import Path

from tensormask_server.models.errors import ModelError
from tensormask_server.models.files import (
    ModelFiles,
    config_at,
    files_of_model,
    is_url,
    weights_at,
    weights_path,
)
from tensormask_server.models.table import MODELS, ListedModel, model_named

EXPECTED = "give either --model NAME, or -cp CONFIG.yaml and -tp WEIGHTS.pkl"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `model_files` reads."""
    add = parser.add_argument
    add(
        "--model",
        action="append",  # tensormask-server serves several
        dest="models",
        metavar="NAME",
        help="a model by its name, downloaded once; --list-models of tensormask-server and archive.sh shows all. "
        "tensormask-server takes it several times",
    )
    add("-cp", "--config", type=_path_or_url, metavar="CONFIG.yaml", help="detectron2's configuration: a path or URL")
    add(
        "-tp",
        "--weights",
        type=_path_or_url,
        metavar="WEIGHTS.pkl",
        help="weights, a file of detectron2, torch or safetensors: a path or URL",
    )
    add("--sha256", type=_sha256, metavar="HASH", help="what the SHA-256 of the weights has to be")
    add("--offline", action="store_true", help="download nothing: use what is in the cache")


def is_complete(parsed: argparse.Namespace) -> bool:
    """Whether the options say exactly one model, or else a configuration and weights."""
    given = (parsed.config is not None, parsed.weights is not None)
    return given == (False, False) if parsed.models else given == (True, True)


def model_name(parsed: argparse.Namespace) -> str | None:
    """The name of the model, where it is given by name.

    Raises:
        ModelError: several are given, or no model has this name.
    """
    model = _listed_model(parsed)
    return model.name if model else None


def model_classes(parsed: argparse.Namespace) -> str:
    """What the model knows, in words, where it is given by name; otherwise "".

    Raises:
        ModelError: several are given, or no model has this name.
    """
    model = _listed_model(parsed)
    return model.classes if model else ""


def model_files(parsed: argparse.Namespace) -> ModelFiles:
    """The files that the parsed options name. What isn't here is downloaded.

    Raises:
        ModelError: they can't be had.
    """
    name = model_name(parsed)
    if name is not None:
        return files_of_model(name, sha256=parsed.sha256, offline=parsed.offline)
    config = config_at(parsed.config, offline=parsed.offline)
    return ModelFiles(config, weights_at(parsed.weights, sha256=parsed.sha256, offline=parsed.offline))


def list_of_models() -> list[str]:
    """The lines of --list-models."""
    rows = [("name", "box AP", "mask AP", "size", "weights"), *(_row(model) for model in MODELS)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("")
    lines += [f"{model.name} knows {model.classes}; licence of the weights: {model.licence}" for model in MODELS]
    return lines


def _listed_model(parsed: argparse.Namespace) -> ListedModel | None:
    models: list[str] = parsed.models or []
    if len(models) > 1:
        raise ModelError(f"--model is given {len(models)} times; expected one model")
    return model_named(models[0]) if models else None


def _row(model: ListedModel) -> tuple[str, ...]:
    box, mask = ("-" if ap is None else f"{ap:.1f}" for ap in (model.box_ap, model.mask_ap))
    if not model.is_published:
        state = "part of this package"
    elif weights_path(model).exists():
        state = f"in {weights_path(model).parent}"
    else:
        state = "not downloaded yet"
    return model.name, box, mask, f"{model.size / 1e6:.0f} MB", state


def _path_or_url(text: str) -> str | Path:
    return text if is_url(text) else Path(text)


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a SHA-256; expected 64 hex digits")
    return text.lower()
