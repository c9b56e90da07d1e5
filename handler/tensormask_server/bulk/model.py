"""The network of a run, from a model's files or from an archive."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from tensormask_server.bulk.listing import RunError
from tensormask_server.classes import class_names
from tensormask_server.model_files.checkpoint import check_sha256, load_checkpoint
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.network.config import TensorMaskConfig, parse_config
from tensormask_server.network.loading import build_network, checked_weights
from tensormask_server.options import HandlerOptions
from tensormask_server.prediction.archived import unpack_archive
from tensormask_server.prediction.openvino_engine import GRAPH, openvino_predictor
from tensormask_server.prediction.precision import DTYPES
from tensormask_server.prediction.predictor import Predictor
from tensormask_server.printable import printable


@dataclass(frozen=True)
class Network:
    """All that an actor makes its network from."""

    config: TensorMaskConfig
    weights: Mapping[str, Tensor]
    precision: str
    graph: Mapping[str, bytes]  # OpenVINO's files by their names; none: torch computes the convolutions

    def predictor(self, device: torch.device) -> Predictor:
        """
        Args:
            device: for the convolutions of torch. OpenVINO's are on the CPU.

        Raises:
            OpenVinoError: OpenVINO isn't installed, or can't use the graph.
        """
        network = build_network(self.config, self.weights)
        if not self.graph:
            return Predictor(network, device, DTYPES[self.precision])
        with tempfile.TemporaryDirectory(prefix="tensormask-bulk-") as folder:  # OpenVINO has read it when it is made
            for name, content in self.graph.items():
                Path(folder, name).write_bytes(content)
            return openvino_predictor(network, Path(folder, GRAPH), self.precision)


@dataclass(frozen=True)
class Model:
    """A network, and what a run's `Settings` have of it."""

    network: Network
    config_sha256: str
    weights_sha256: str
    classes: tuple[str, ...]
    options: HandlerOptions  # the defaults of the score threshold and of tiles; limits aren't a run's

    @property
    def graph_sha256(self) -> str | None:
        """Of OpenVINO's files; None: there are none."""
        files = [content for _, content in sorted(self.network.graph.items())]
        return hashlib.sha256(b"".join(files)).hexdigest() if files else None


def model_of_files(config: Path, weights: Path, classes: Path | None, options: HandlerOptions) -> Model:
    """Reads a model.

    Args:
        config, weights: as in `load_predictor`, but only paths.
        classes: a file of class names, one a line. None: COCO's for 80 classes.
        options: the precision, and the defaults of the score threshold and of tiles. The limits don't count.

    Raises:
        ConfigError, CheckpointError: as `load_predictor`.
    """
    tree = load_merged_yaml(config)
    parsed = parse_config(tree)
    check_sha256(weights)
    network = Network(parsed, checked_weights(parsed, load_checkpoint(weights)), options.precision, {})
    with weights.open("rb") as file:
        weights_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    config_sha256 = hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()
    names = class_names(parsed.head.num_classes, classes)
    return Model(network, config_sha256, weights_sha256, names, options)


def model_of_archive(archive: Path) -> Model:
    """Reads the model of an archive of archive.sh, with its precision, its score threshold and its tiles.

    Raises:
        ArchivedError: as `unpack_archive`.
        RunError: the archive is for the engine detectron2.
    """
    with tempfile.TemporaryDirectory(prefix="tensormask-bulk-") as folder:
        files = unpack_archive(archive, Path(folder))
        if files.options.engine == "detectron2":
            raise RunError(f"the archive {printable(archive)} has the engine detectron2; expected native or openvino")
        model = model_of_files(files.config, files.weights, files.classes, files.options)
        if files.options.engine == "native":
            return model
        names = (GRAPH, Path(GRAPH).with_suffix(".bin").name)
        graph = {name: files.config.with_name(name).read_bytes() for name in names}
    return replace(model, network=replace(model.network, graph=graph))
