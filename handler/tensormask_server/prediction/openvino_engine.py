"""The network with its convolutions computed by OpenVINO, as an `Engine` for CPUs.

The archive holds the convolutions as a graph, which `export` made from the same weights. Everything from the selection
of detections on is `Predictor`'s, so all options work.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.network.before_selection import ConvolutionMaps, map_names
from tensormask_server.network.config import HeadConfig, load_config
from tensormask_server.network.loading import build_network
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.openvino_package import OpenVinoError, openvino
from tensormask_server.prediction.cpu import emulates
from tensormask_server.prediction.predictor import Predictor

GRAPH = "graph.xml"  # beside the configuration, and its numbers in graph.bin


def load_openvino(config: str | Path, weights: str | Path, device: torch.device, precision: str) -> Predictor:
    """Loads the network and the graph of its convolutions, which is beside the configuration.

    Args:
        config, weights: as in `load_predictor`, but only paths.
        device: the CPU.
        precision: of the convolutions, one of the engine's `options.ENGINE_PRECISIONS`. For int8 the graph itself says
            what is computed in 8 bits, and the rest is in bfloat16 where the CPU has it.

    Raises:
        OpenVinoError: OpenVINO isn't installed, can't read the graph, or the device is a GPU.
        ConfigError, CheckpointError: as `load_predictor`.
    """
    if device.type != "cpu":
        raise OpenVinoError(f"the device is {device}; expected cpu with the engine openvino")
    network = build_network(load_config(config), load_checkpoint(weights))
    return openvino_predictor(network, Path(config).with_name(GRAPH), precision)


def openvino_predictor(network: TensorMask, graph: Path, precision: str) -> Predictor:
    """A network whose convolutions OpenVINO computes, with the arguments and errors of `load_openvino`.

    Args:
        network: belongs to the predictor from now on.
        graph: of the same network, the path of the .xml file.
    """
    lower = precision != "float32" and not emulates(torch.bfloat16)
    dtype = torch.bfloat16 if lower else torch.float32
    network.use_graph(OpenVinoGraph(graph, network.config.head, dtype))
    return Predictor(network, torch.device("cpu"), dtype)


class OpenVinoGraph(nn.Module):
    """The convolutions of a network, compiled for this CPU and for images of any size."""

    def __init__(self, path: Path, config: HeadConfig, dtype: torch.dtype):
        """
        Args:
            path: of the graph's .xml file. Its inputs and outputs are those of `Convolutions`.
            config: of the network's head.
            dtype: of the convolutions that aren't in 8 bits.

        Raises:
            OpenVinoError: OpenVINO isn't installed, or can't read the graph, or the graph is of another network.
        """
        super().__init__()
        package = openvino()
        self.names = map_names(config)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        try:
            model = package.Core().read_model(path)
            names = tuple(output.any_name for output in model.outputs)
            if names != self.names:
                found, expected = (f"{len(each)} outputs, {each[0]} to {each[-1]}" for each in (names, self.names))
                raise OpenVinoError(
                    f"the graph {path.name} has {found}; expected {expected}; archive.sh makes it again"
                )
            compiled: Any = package.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise OpenVinoError(
                f"OpenVINO can't use the graph {path.name}: {reason}; archive.sh makes it again"
            ) from error
        self.request = compiled.create_infer_request()

    def forward(self, images: Tensor) -> ConvolutionMaps:
        """The maps of `Convolutions`, which the next call overwrites: the mask towers in the images' dtype."""
        array = images.float().contiguous().numpy()  # (N, 3, H, W)
        outputs = self.request.infer({"images": array}, share_inputs=True, share_outputs=True)
        tensors = (torch.from_numpy(np.asarray(outputs[index])) for index in range(len(self.names)))
        maps = ConvolutionMaps.of_named(zip(self.names, tensors, strict=True))
        return maps._replace(mask_towers=[tower.to(images.dtype) for tower in maps.mask_towers])
