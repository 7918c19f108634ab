"""What mnc predict prints at its end."""

import pathlib

import pytest

from mnc_jax.cli.predict_report import describe


@pytest.mark.parametrize(("scores", "images", "text"), [
    ([0.9, 0.5, 0.2], 2, "3 instances in 2 images, written to o.json. 2 of them are drawn in the "
     "pictures beside it: those of score 0.5 (--min-score) or more."),
    ([0.7, 0.2], 1, "2 instances in 1 image, written to o.json. 1 of them is drawn in the pictures "
     "beside it: those of score 0.5 (--min-score) or more."),
    ([0.2, 0.3125], 1, "2 instances in 1 image, written to o.json. None is drawn: none reaches "
     "--min-score 0.5: the best score is 0.312."),
    ([], 1, "0 instances in 1 image, written to o.json. None is drawn: none reaches --min-score "
     "0.5.")])
def test_it_says_how_many_are_drawn_and_the_best_score_if_none_is(scores, images, text):
  assert describe(scores, images, pathlib.Path("o.json"), 0.5) == text


@pytest.mark.parametrize(("scores", "target", "places", "text"), [
    ([0.9, 0.2], None, "in labels/", "2 instances in 3 frames. 1 of them is in labels/: those of "
     "score 0.5 (--min-score) or more."),
    ([0.9, 0.8], "o.json", "", "2 instances in 3 frames, written to o.json."),
    ([], None, "drawn in the video and in labels/", "0 instances in 3 frames. None is drawn: none "
     "reaches --min-score 0.5."),
    ([], None, "in labels/", "0 instances in 3 frames. None is in labels/: none reaches "
     "--min-score 0.5.")])
def test_it_names_the_formats(scores, target, places, text):
  path = target and pathlib.Path(target)
  assert describe(scores, 3, path, 0.5, noun="frame", places=places) == text
