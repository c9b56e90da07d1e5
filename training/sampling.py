"""In which order a training sees the images, and how often: once in an epoch, or more where they show rare classes."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

MOST_EPOCHS_KEPT = 2  # a batch can lie in two


def repeat_factors(classes_of_images: Sequence[set[int]], threshold: float, square_root: bool = True) -> np.ndarray:
    """How often an epoch shows each image, as detectron2's RepeatFactorTrainingSampler.

    A class that a share f of the images shows has the factor max(1, sqrt(threshold / f)), and an image the largest
    factor of its classes.

    Args:
        classes_of_images: the classes that each image shows.
        threshold: a share of the images, 0 … 1; classes that fewer images show are repeated.
        square_root: without it the factor is max(1, threshold / f).

    Returns:
        float64 (images,), 1 and more.

    Source: section B.3 of "LVIS: A Dataset for Large Vocabulary Instance Segmentation" (Gupta et al., 2019).
    """
    images_of_class = Counter(each for classes in classes_of_images for each in classes)
    ratios = {each: threshold * len(classes_of_images) / number for each, number in images_of_class.items()}
    factors = {each: max(1.0, ratio**0.5 if square_root else ratio) for each, ratio in ratios.items()}
    return np.array([max((factors[each] for each in classes), default=1.0) for classes in classes_of_images])


class Epochs:
    """The order of images over all epochs, a function of the seed alone.

    An epoch shows an image as often as its factor says. The fraction of a factor is the probability of once more.
    """

    def __init__(self, factors: np.ndarray, seed: int):
        """
        Args:
            factors: float64 (images,), of `repeat_factors`.
            seed: of the order and of the fractions.
        """
        self._factors = factors
        self._seed = seed
        # the length of every epoch, if no factor has a fraction
        self._length = int(factors.sum()) if (factors % 1 == 0).all() else None
        self._starts = [0]  # otherwise: of the epochs whose length is known, and of the one after them
        self._kept: dict[int, np.ndarray] = {}

    def image(self, place: int) -> int:
        """The index of the image at a place, counted over all epochs from 0."""
        epoch, within = self._epoch(place)
        return int(self._order(epoch)[within])

    def _epoch(self, place: int) -> tuple[int, int]:
        """The epoch of a place, and the place within it."""
        if self._length is not None:
            return divmod(place, self._length)
        while self._starts[-1] <= place:
            self._starts.append(self._starts[-1] + int(self._repeats(len(self._starts) - 1).sum()))
        epoch = int(np.searchsorted(self._starts, place, side="right")) - 1
        return epoch, place - self._starts[epoch]

    def _repeats(self, epoch: int) -> np.ndarray:
        """How often the epoch shows each image, int64 (images,)."""
        whole = np.floor(self._factors)
        drawn = np.random.default_rng([self._seed, 2, epoch]).random(len(whole))
        repeats: np.ndarray = (whole + (drawn < self._factors - whole)).astype(np.int64)
        return repeats

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._kept:
            while len(self._kept) >= MOST_EPOCHS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            images = np.repeat(np.arange(len(self._factors)), self._repeats(epoch))
            self._kept[epoch] = images[np.random.default_rng([self._seed, 0, epoch]).permutation(len(images))]
        return self._kept[epoch]
