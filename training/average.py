"""The mean of several trainings' weights: python -m training.average A.pkl B.pkl --out C.pkl

The mean of the weights of the last checkpoints of one training, or of trainings from the same start, is often better
than each of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint
from tensormask_server.printable import one_line, printable
from torch import Tensor

from training.files import write_weights


def average(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Computes the mean of the weights of files.

    Args:
        paths: weights as `load_checkpoint` reads them; one or more.

    Returns:
        From each entry's name to its mean, float32. It is computed in float64.

    Raises:
        CheckpointError: a file can't be read, or has other entries or shapes than the first one.
    """
    first = load_checkpoint(paths[0])
    sums = {name: tensor.double() for name, tensor in first.items()}
    for path in paths[1:]:
        weights = load_checkpoint(path)
        for name in sums.keys() | weights.keys():
            found, expected = (_shape(each.get(name)) for each in (weights, first))
            if found != expected:
                raise CheckpointError(
                    f"{printable(name)} is {found} in {printable(path)}, and {expected} in {printable(paths[0])}; "
                    "expected weights of the same network"
                )
            sums[name] += weights[name]
    return {name: (total / len(paths)).float() for name, total in sums.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.average", description="The mean of trained weights.")
    parser.add_argument("weights", type=Path, nargs="+", metavar="FILE", help="two or more of the same network")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.pkl", help="file for the mean")
    parsed = parser.parse_args(arguments)
    if len(parsed.weights) < 2:
        parser.error(f"one file of weights has no mean; expected two or more before --out {printable(parsed.out)}")
    if parsed.out.suffix != ".pkl":
        parser.error(f"--out is {printable(parsed.out)}; expected a name that ends in .pkl")
    try:
        mean = average(parsed.weights)
        write_weights(parsed.out, {name: tensor.numpy() for name, tensor in mean.items()})
    except CheckpointError as error:
        parser.exit(2, f"{one_line(error)}\n")
    except OSError as error:
        parser.exit(2, f"can't write to {printable(parsed.out)}: {error.strerror}\n")
    print(f"{printable(parsed.out)}: the mean of {len(parsed.weights)} files", file=sys.stderr)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"of the shape {tuple(tensor.shape)}"


if __name__ == "__main__":
    main()
