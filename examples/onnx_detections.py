"""Detects instances with an exported graph, run by ONNX Runtime, with selection and masks on top of it.

python -m tensormask_server.export --model demo --format onnx --output demo.onnx
python examples/onnx_detections.py demo.onnx image.jpg --config CONFIG.yaml --weights WEIGHTS.pkl

The graph has everything up to the class logits, box deltas and features of masks. What follows, the choice of
detections and their masks, is this package's; docs/NETWORK.md specifies it for who writes it in another language.
"""

import argparse
from pathlib import Path

import onnxruntime
import torch
from tensormask_server import Predictor
from tensormask_server.images.encoded import read_image
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.network.before_selection import ConvolutionMaps
from tensormask_server.network.config import load_config
from tensormask_server.network.loading import build_network
from torch import Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description="Detects instances with an exported graph, run by ONNX Runtime.")
    parser.add_argument("graph", type=Path, help="the .onnx file")
    parser.add_argument("image", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="of the network that was exported")
    parser.add_argument("--weights", type=Path, required=True, help="from these only the mask predictors are used")
    parser.add_argument("--threshold", type=float, default=0.5, help="scores are above it (default: %(default)s)")
    parsed = parser.parse_args()

    session = onnxruntime.InferenceSession(parsed.graph, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def maps_of(images: Tensor) -> ConvolutionMaps:
        outputs = session.run(None, {"images": images.contiguous().numpy()})
        return ConvolutionMaps.of_named(zip(names, map(torch.from_numpy, outputs), strict=True))

    network = build_network(load_config(parsed.config), load_checkpoint(parsed.weights))
    network.use_graph(maps_of)
    predictor = Predictor(network, torch.device("cpu"), torch.float32)
    [detections] = predictor([read_image(parsed.image)], parsed.threshold)
    print(f"{len(detections)} instances")
    assert detections.masks is not None  # bool (N, H, W)
    for box, score, number, mask in zip(
        detections.boxes, detections.scores, detections.classes, detections.masks, strict=True
    ):
        corners = " ".join(f"{side:.1f}" for side in box)
        print(f"class {number}  score {score:.3f}  box {corners}  {mask.sum()} pixels")


if __name__ == "__main__":
    main()
