"""Images with more instances than the static shapes of inference hold."""

import numpy as np
import pytest

from helpers import tiny
from mnc_jax.evaluation.limits import describe_limit, score_at_limit
from mnc_jax.structs import Instances

CONFIG = tiny.tiny_config()  # 6 instances, 16 proposals.


def find(scores, *, dropped=0):
  count = len(scores)
  return Instances(np.zeros((count, 4)), np.ones(count, int), np.array(scores, np.float32),
                   np.zeros((count, 4, 4)), np.ones(count, bool), dropped)


@pytest.mark.parametrize(("scores", "dropped", "expected"), [
    ([], 0, -1), ([], 1, -1), ([0.75, 0.5], 0, -1), ([0.75, 0.5], 1, 0.5),
    # Nine tenths of 16 are 14.4.
    ([0.75] * 13 + [0.5], 0, -1), ([0.75] * 14 + [0.5], 0, 0.5), ([0.75] * 15 + [0.5], 0, 0.75),
    ([0.75] * 15 + [0.5], 1, 0.75)])
def test_the_score_down_to_which_slots_are_filled(scores, dropped, expected):
  assert score_at_limit(find(scores, dropped=dropped), [CONFIG]) == expected


def test_the_model_with_most_proposals_counts():
  more = tiny.tiny_config(inference={"proposals": {"num_proposals": 20}})
  for configs, expected in (([CONFIG], 0.75), ([CONFIG, more], -1), ([more, CONFIG], -1)):
    assert score_at_limit(find([0.75] * 17), configs) == expected


@pytest.mark.parametrize(("scores", "min_score", "limited"), [
    ([0.5], 0.5, True), ([-1, 0.6, -1], 0.5, True), ([0.4], 0.5, False), ([], 0.5, False),
    ([-1], 0.0, False), ([0.5], 0.0, False)])
def test_a_sentence_with_both_limits_if_confident_instances_fill_them(scores, min_score, limited):
  assert describe_limit(scores, "a.png", min_score, CONFIG) == (
      "a.png: there may be more instances of score 0.5 than were found, since "
      "inference.max_instances is 6 and inference.proposals.num_proposals 16: raise both"
      if limited else "")
