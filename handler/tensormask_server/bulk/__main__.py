"""The command: python -m tensormask_server.bulk --input IMAGES --output DIR --config … --weights …"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tensormask_server.extras import exit_without

NAME = "python -m tensormask_server.bulk"
if __name__ == "__main__":  # before the imports that need the extra
    exit_without("bulk", NAME)

# ruff: noqa: E402
from tensormask_server.arguments import add_tile_arguments, fraction, whole_number
from tensormask_server.options import PRECISIONS, HandlerOptions
from tensormask_server.printable import one_line, printable

if TYPE_CHECKING:  # they need packages that may not be installed
    from tensormask_server.bulk.parts import Parts
    from tensormask_server.bulk.places import Place

SHOWN_ERRORS = 3  # images
MAX_PIXELS = 50_000_000  # of the best cameras; the server's limit is lower, because strangers send images to it


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes a row for each image that has none yet.

    Returns:
        The exit status. 0: each row has instances. 1: some rows have an error instead. 2, with one line on stderr: the
        run can't begin or continue. 130: after Ctrl-C.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.archive and any((parsed.config, parsed.weights, parsed.classes, parsed.precision)):
        parser.error("expected either --archive, or --config and --weights with --classes and --precision")
    if not parsed.archive and not (parsed.config and parsed.weights):
        parser.error("expected --config and --weights, or --archive")
    try:
        return _run(parsed)
    except (ValueError, OSError) as error:  # about the configuration, the weights, the options or the run
        print(f"{NAME}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _run(parsed: argparse.Namespace) -> int:
    # imported only here, because they need packages that may not be installed
    from tqdm import tqdm

    from tensormask_server.bulk.listing import Settings, begin, check_same, is_begun
    from tensormask_server.bulk.model import model_of_archive, model_of_files
    from tensormask_server.bulk.parts import Parts
    from tensormask_server.bulk.places import full_name, place_of, source_of
    from tensormask_server.bulk.run import pool_of, ray_cluster, write_parts

    if parsed.archive:
        model = model_of_archive(parsed.archive)
    else:
        options = HandlerOptions(precision=parsed.precision or HandlerOptions().precision)
        model = model_of_files(parsed.config, parsed.weights, parsed.classes, options)
    given = {name: value for name, value in vars(parsed).items() if name in ("tile_size", "tile_overlap", "tile_whole")}
    options = replace(model.options, **given)
    source, output = source_of(parsed.input), place_of(parsed.output)
    settings = Settings(
        input=full_name(parsed.input),
        config=model.config_sha256,
        weights=model.weights_sha256,
        classes=model.classes,
        threshold=options.score_threshold if parsed.threshold is None else parsed.threshold,
        precision=model.network.precision,
        max_pixels=parsed.max_pixels,
        max_side=parsed.max_side,
        tile_size=options.tile_size,
        tile_overlap=options.tile_overlap,
        tile_whole=options.tile_whole,
        archive=model.graph_sha256,
    )
    if is_begun(output):
        check_same(output, Parts(output).settings, settings)
    else:
        output.filesystem.create_dir(output.path, recursive=True)
        begin(output, settings, tqdm(source.images(), desc="listing", unit="image"))
    parts = Parts(output)
    damaged = parts.delete_damaged()
    if damaged:
        print(f"{damaged} of {len(parts)} parts are damaged and are made again", file=sys.stderr)
    if len(parts.finished()) < len(parts):
        with ray_cluster(parsed.address):
            pool = pool_of(parsed.actors, parsed.cores, on_gpus=not model.network.graph)
            print(f"networks: {pool.actors}, each with {pool.gpus} GPU and {pool.cores} cores", file=sys.stderr)
            done = write_parts(parts, model.network, pool)
        rate = f"{done.images / done.seconds:.1f} a second, {done.outside_the_network:.0%} outside the network"
        print(f"{done.images} images in {done.seconds:.0f} s: {rate}", file=sys.stderr)
    parts.tidy()
    return _report(parts, output)


def _report(parts: "Parts", output: "Place") -> int:
    """Prints how many images have an error, with the first of them, and returns the exit status."""
    finished = parts.finished()
    errors = sum(finished.values())
    print(f"{parts.images} images in {output}, {errors} of them with an error{':' if errors else ''}")
    failed = (failure for part, count in finished.items() if count for failure in parts.failed(part))
    for path, error in islice(failed, SHOWN_ERRORS):
        print(f"  {printable(path)}: {one_line(error)}")
    if errors > SHOWN_ERRORS:
        print(f"  and {errors - SHOWN_ERRORS} more, in the column error")
    return 1 if errors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Detects instances on any number of images and writes Parquet, a row for each image. After a "
        "stop, the same command continues.",
    )
    add, positive = parser.add_argument, whole_number(1)
    defaults = HandlerOptions()
    limits = defaults.limits
    add(
        "--input",
        required=True,
        metavar="IMAGES",
        help="a folder, a pattern such as 'a/b/**/*.jpg', or s3://… for either",
    )
    add(
        "--output", required=True, metavar="DIR", help="a new folder, or the folder of a run to continue; can be s3://…"
    )
    add("--archive", type=Path, metavar="A.mar", help="of archive.sh, in the place of the next four options")
    add("-cp", "--config", type=Path, help="detectron2's .yaml")
    add("-tp", "--weights", type=Path, help="weights in a file of detectron2, torch or safetensors")
    add("--classes", type=Path, metavar="FILE", help="class names, one a line (default: COCO's for 80 classes)")
    add("--precision", choices=PRECISIONS, help=f"(default: {defaults.precision})")
    add(
        "-t",
        "--threshold",
        type=fraction,
        help=f"only instances with higher scores (default: {defaults.score_threshold:g}, or the archive's)",
    )
    add_tile_arguments(parser, has_archive=True)
    add(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="of an image, at most (default: %(default)s)",
    )
    add(
        "--max-side",
        type=positive,
        default=limits.max_side,
        metavar="N",
        help="pixels of an image's longer side, at most (default: %(default)s)",
    )
    add(
        "--address",
        help="of a Ray cluster: auto or HOST:6379 on one of its machines, ray://HOST:10001 from elsewhere (default: "
        "only this machine)",
    )
    add("--actors", type=positive, metavar="N", help="number of networks (default: as many as fit)")
    add("--cores", type=positive, default=1, metavar="N", help="cores of each network (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
