"""The rule by which the page's samples of the demo's model are chosen."""

from demo.samples import FEWEST, MOST_OF_MEDIAN, chosen_images


def test_the_best_the_usual_and_the_worst_are_chosen() -> None:
    scores = [0.9, 0.2, 0.5, 0.6, 0.1, 1.0, 0.9]
    counts = [FEWEST, MOST_OF_MEDIAN, FEWEST, FEWEST, MOST_OF_MEDIAN + 1, FEWEST - 1, FEWEST]
    assert chosen_images(scores, counts) == (0, 3, 4)
