"""What the tables of accuracy sum up."""

import math

from bench.agreement import Agreement, together


def test_the_overlap_of_several_images_is_the_mean_over_their_pairs() -> None:
    nothing = Agreement(expected=2, paired=0, mask_iou=float("nan"))
    assert together([Agreement(4, 3, 0.9), nothing, Agreement(1, 1, 0.5)]) == Agreement(7, 4, (3 * 0.9 + 0.5) / 4)
    assert math.isnan(together([nothing]).mask_iou)
