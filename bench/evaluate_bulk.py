"""Box and mask AP of what `python -m tensormask_server.bulk` wrote, as bench/evaluate.py measures a server's.

python bench/evaluate_bulk.py --found DIR --annotations instances.json
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensormask_server import classes

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a file
try:
    import pyarrow.dataset as ds
    from tensormask_server.bulk.listing import RunError
    from tensormask_server.bulk.parts import Parts
    from tensormask_server.bulk.places import PlaceError, place_of, source_of

    from bench.evaluate import table
    from bench.scores import EvaluationError, Result, evaluate
    from training.annotations import DataError, category_ids, read_annotations
except ModuleNotFoundError as error:
    sys.exit(f"evaluate_bulk.py: {error}; .venv/bin/pip install -c constraints.txt -e '.[bulk]' brings it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints box and mask AP. The names of the annotation file's images are from the run's --input on.

    Returns:
        0; 2, with one line, where nothing can be measured.
    """
    parser = argparse.ArgumentParser(description="Measures box and mask AP of a bulk run on COCO annotations.")
    parser.add_argument("--found", required=True, metavar="DIR", help="the run's --output")
    parser.add_argument("--annotations", type=Path, required=True, metavar="FILE.json", help="in COCO's format")
    parsed = parser.parse_args(arguments)
    try:
        annotations = read_annotations(parsed.annotations)
        print(table(evaluate(annotations, coco_results_of(Parts(place_of(parsed.found)), annotations))))
    except (DataError, EvaluationError, RunError, PlaceError, OSError) as error:
        print(f"evaluate_bulk.py: {error}", file=sys.stderr)
        return 2
    return 0


def coco_results_of(parts: Parts, annotations: Mapping[str, Any]) -> list[Result]:
    """COCO's results of a complete run, with the annotation file's ids of images and categories.

    Class k of the network is the k-th of the file's category ids, sorted.

    Raises:
        EvaluationError: the run isn't complete, or has no row, an error, or another size for one of the images.
    """
    if parts.damaged() or len(parts.finished()) < len(parts):
        raise EvaluationError(
            f"{parts.folder} isn't complete, or is damaged; the command that began it goes on with it"
        )
    ids = category_ids(annotations)
    names = parts.settings.classes
    if len(names) > len(ids):
        raise EvaluationError(f"the run has {len(names)} classes, and the annotation file only {len(ids)} categories")
    of_class = dict(zip(classes.category_ids(names), ids, strict=False))
    root = source_of(parts.settings.input).root
    images = {f"{root}/{image['file_name']}": image for image in annotations["images"]}
    results: list[Result] = []
    for row in _rows(parts):
        image = images.pop(row["path"], None)
        if image is None:
            continue
        if (row["height"], row["width"]) != (image["height"], image["width"]) or row["error"] is not None:
            found = row["error"] or f"has {row['height']}×{row['width']} pixels, other than its annotations say"
            raise EvaluationError(f"{row['path']}: {found}")
        for instance in row["instances"]:
            keys = ("score", "bbox", "segmentation")
            result = {key: instance[key] for key in keys if instance[key] is not None}
            results.append({"image_id": image["id"], "category_id": of_class[instance["category_id"]], **result})
    if images:
        raise EvaluationError(f"{len(images)} images have no row, {next(iter(images))} for one")
    return results


def _rows(parts: Parts) -> Iterator[dict[str, Any]]:
    dataset = ds.dataset(parts.folder.path, filesystem=parts.folder.filesystem, format="parquet")
    for batch in dataset.to_batches(columns=["path", "height", "width", "instances", "error"]):
        yield from batch.to_pylist()


if __name__ == "__main__":
    sys.exit(main())
