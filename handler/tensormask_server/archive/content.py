"""What goes into an archive: the network, the package that serves it, and the options that it is served with."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml
from safetensors.torch import save_file

from tensormask_server import __version__
from tensormask_server.archive.arguments import ArchiveRequest
from tensormask_server.archive.errors import ArchiveError
from tensormask_server.archive.graphs import stage_graph
from tensormask_server.integrity import SUMS, sums_of
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.sample_images import FOLDER, Sample, write_samples
from tensormask_server.yaml_bases import MAX_BYTES

PACKAGE = Path(__file__).parents[1]
HANDLER = PACKAGE.parent / "tensormask_handler.py"
WEIGHTS = "weights.safetensors"
MODEL_CONFIG = "model-config.yaml"
# for a worker to load its network, where TorchServe's own 120 may be too few for a large network on a busy machine
STARTUP_SECONDS = 600
# folders of the stage: the network and its handler, which torch-model-archiver is told apart, and all other files
SERVED, BESIDE = "served", "content"
# What a worker has no use for: the commands, and what only they import. A test holds that a worker needs none of it.
LEFT_OUT = (
    "__pycache__",
    "archive",
    "bulk",
    "client",
    "gateway",
    "export",
    "launcher",
    "openapi",
    "torchserve",
    "config_properties.py",
    "config.properties",  # a wheel has a copy in the package, one of the configurations, and the demo's model
    "configs",
    "demo",
    "py.typed",
    "health.py",
    "label_studio_arguments.py",
    "serving_arguments.py",
    "verify.py",
)


def stage_content(
    stage: Path,
    network: TensorMask,
    tree: dict[str, object],
    names: Sequence[str],
    samples: Sequence[Sample],
    request: ArchiveRequest,
) -> None:
    """Writes all files of the archive into an empty folder.

    Args:
        tree: the configuration, merged with its _BASE_ files.
        names: of the classes.
        samples: that the page offers.

    Raises:
        ArchiveError: the server wouldn't read so long a configuration.
        OpenVinoError, CalibrationError: as `stage_graph`, which raises ArchiveErrors as well.
    """
    beside, served = stage / BESIDE, stage / SERVED
    served.mkdir()
    save_file(network.state_dict(), served / WEIGHTS)
    shutil.copy(HANDLER, served)
    shutil.copytree(PACKAGE, beside / PACKAGE.name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (beside / "config.yaml").write_text(_merged_yaml(tree), encoding="utf-8")
    (beside / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    if samples:
        write_samples(samples, beside / FOLDER)
    if request.options.engine == "openvino":
        stage_graph(beside, served / WEIGHTS, network, request)
    (beside / SUMS).write_text(sums_of([beside, served]), encoding="utf-8")
    settings = yaml.safe_dump(model_config(request), sort_keys=False)
    made_by = f"# made by tensormask-segmentation-server {__version__}\n"  # TorchServe describes no such thing
    (stage / MODEL_CONFIG).write_text(made_by + settings, encoding="utf-8")


def model_config(request: ArchiveRequest) -> dict[str, object]:
    """TorchServe's settings of the model, and under "handler" the options of its handler."""
    return {
        "minWorkers": request.workers,
        "maxWorkers": request.workers,
        "batchSize": request.batch_size,
        "maxBatchDelay": request.max_batch_delay,
        "responseTimeout": request.response_timeout,
        "startupTimeout": STARTUP_SECONDS,
        "handler": request.options.section(),
    }


def _merged_yaml(tree: dict[str, object]) -> str:
    """
    Raises:
        ArchiveError: the server wouldn't read so long a configuration.
    """
    text = yaml.safe_dump(tree)
    if len(text.encode()) > MAX_BYTES:
        raise ArchiveError(
            f"the configuration, merged with its _BASE_ files and without aliases, has {len(text.encode())} bytes; "
            f"expected at most {MAX_BYTES}"
        )
    return text
