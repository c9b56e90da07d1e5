"""python -m training --config YAML --data FOLDER --out FOLDER; under torchrun, on several processes."""

import argparse
import os
import sys
from datetime import timedelta
from pathlib import Path

try:
    import torch
    from tensormask_server.arguments import fraction, weight, whole_number
    from tensormask_server.model_files.checkpoint import CheckpointError
    from tensormask_server.model_files.key_reader import ConfigError
    from tensormask_server.prediction.cpu import warn_if_emulated
    from tensormask_server.printable import one_line, printable
    from tensormask_server.same_options import OptionsChanged
    from torch import distributed

    from training.annotations import DataError
    from training.schedule import OPTIMIZERS
    from training.settings import load_training_config
    from training.temporary_folder import TemporaryFolderError
    from training.trainer import Run, TrainingStopped, train
except ModuleNotFoundError as error:
    sys.exit(f"python -m training: {error}; .venv/bin/pip install -c constraints.txt -e '.[train]' brings it")

LONGEST_REPORT = 4000  # bytes, of ten images and what is wrong with each
LONGEST_WAIT = timedelta(hours=12)  # of processes for the one that checks the images or validates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description="Trains a TensorMask network.")
    parser.add_argument("--config", type=Path, required=True, help="a detectron2 configuration")
    parser.add_argument("--data", type=Path, required=True, help="a folder with images/ and instances.json")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the weights; a training that is there continues"
    )
    parser.add_argument(
        "--weights", type=Path, help="a file to start from: a TensorMask, another network of detectron2, or a ResNet"
    )
    parser.add_argument(
        "--device",
        type=_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, or cuda:1 and so on; left out: cuda where there is a GPU, or else cpu",
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the convolutions; bfloat16 is faster on GPUs; by default float32",
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd", help="by default sgd, as detectron2 trains")
    parser.add_argument("--workers", type=whole_number(0), default=2, help="processes that read and decode images")
    parser.add_argument(
        "--threads", type=whole_number(1), help="threads of each process on the CPU; left out: torch's choice"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="of random weights, and of the images' order, sizes and flips"
    )
    parser.add_argument(
        "--semantic-weight", type=weight, default=0.0, help="of a loss on the class of every pixel; for random weights"
    )
    parser.add_argument(
        "--name-weight", type=weight, default=0.0, help="of a loss by which the classes compete at each instance"
    )
    parser.add_argument("--validate", type=Path, metavar="FOLDER", help="measures AP on its images/ and instances.json")
    parser.add_argument(
        "--every", type=whole_number(1), metavar="N", help="iterations between validations; left out: each checkpoint"
    )
    parser.add_argument(
        "--average-decay",
        type=fraction,
        metavar="D",
        help="also writes average.pkl, the moving average of the weights, such as 0.999; left out: there is none",
    )
    parser.add_argument(
        "--minutes",
        type=weight,
        metavar="M",
        help="ends the training after so long, with its state and weights written; the same command continues it",
    )
    args = parser.parse_args()
    if args.every and not args.validate:
        parser.error("--every has no effect without --validate; give --validate FOLDER")
    if args.threads:
        torch.set_num_threads(args.threads)
    device: torch.device = args.device
    if device.type == "cpu" and args.precision == "bfloat16":
        warn_if_emulated(torch.bfloat16)
    if "WORLD_SIZE" in os.environ:  # started by torchrun
        if device.type == "cuda":
            try:
                device = _own_gpu(device, int(os.environ["LOCAL_RANK"]), torch.cuda.device_count())
            except ValueError as error:
                parser.exit(2, f"{error}\n")
            torch.cuda.set_device(device)
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    run = Run(
        data=args.data,
        out=args.out,
        weights=args.weights,
        device=str(device),
        precision=args.precision,
        optimizer=args.optimizer,
        workers=args.workers,
        seed=args.seed,
        semantic_weight=args.semantic_weight,
        name_weight=args.name_weight,
        validate=args.validate,
        every=args.every,
        average_decay=args.average_decay,
        minutes=args.minutes,
    )
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.exit(2, f"can't write to {printable(args.out)}: {error.strerror}\n")
    try:
        train(load_training_config(args.config), run)
    except (ConfigError, CheckpointError, OptionsChanged, TemporaryFolderError, TrainingStopped) as error:
        parser.exit(2, f"{one_line(error)}\n")
    except DataError as error:  # from a process that makes batches it comes with that one's traceback before it
        last = str(error).strip().splitlines()[-1]
        text = last.removeprefix(f"{DataError.__module__}.{DataError.__name__}: ")
        parser.exit(2, f"{one_line(text, LONGEST_REPORT)}\n")
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _own_gpu(device: torch.device, process: int, count: int) -> torch.device:
    """The GPU of one of the processes that torchrun starts on this machine.

    Args:
        device: of --device.
        process: the number of the process on this machine, from 0 on.
        count: how many GPUs this machine has.

    Raises:
        ValueError: there is none for this process, or --device names one for all of them.
    """
    if device.index is not None:
        raise ValueError(f"--device is {device}, and torchrun gives each process its own; expected --device cuda")
    if process >= count:
        raise ValueError(
            f"torchrun starts {process + 1} processes or more, and torch finds {count} GPUs; expected "
            f"--nproc-per-node {count}, or --device cpu"
        )
    return torch.device("cuda", process)


def _device(text: str) -> torch.device:
    kind, _, number = text.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a device; expected cpu, cuda, or cuda:1 and so on")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise argparse.ArgumentTypeError(f"{text!r} isn't here: torch {torch.__version__} finds {found} GPUs")
    return torch.device(text)


if __name__ == "__main__":
    main()
