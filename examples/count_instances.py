"""Counts the instances of each class in what a bulk run wrote.

python -m tensormask_server.bulk --input images --output found --config CONFIG.yaml --weights WEIGHTS.pkl
python examples/count_instances.py found
"""

import argparse
from collections import Counter

import pyarrow.dataset as ds


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts the instances of each class in what a bulk run wrote.")
    parser.add_argument("found", help="the --output of python -m tensormask_server.bulk")
    parser.add_argument("--threshold", type=float, default=0.0, help="counts scores above it (default: %(default)s)")
    parsed = parser.parse_args()

    instances: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for batch in ds.dataset(parsed.found).to_batches(columns=["instances"]):
        for row in batch.to_pylist():
            names = [
                instance["category_name"]
                for instance in row["instances"] or []  # None where the image has an error
                if instance["score"] > parsed.threshold
            ]
            instances.update(names)
            images.update(set(names))

    print(f"{'class':<20} {'instances':>9} {'images':>9}")
    for name, count in sorted(instances.items(), key=lambda item: (-item[1], item[0])):
        print(f"{name:<20} {count:>9} {images[name]:>9}")


if __name__ == "__main__":
    main()
