"""What the log of the steps says beyond its numbers."""

import warnings

import numpy as np
import pytest

from helpers import tiny
from mnc_jax.config import ProposalConfig
from mnc_jax.training.metrics_log import MetricsLog
from mnc_jax.training.step_log import StepLog

_CONFIG = tiny.override(tiny.tiny_config(), train={
    "proposals": ProposalConfig(pre_nms=1000, num_proposals=200)})


def _write(*counts):
  """Logs steps of (proposals, truncated ones) per image, two at a time; returns the warnings."""
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    with MetricsLog(None, first_step=1) as log, StepLog(log, _CONFIG, first=0) as steps:
      for step, (proposals, truncated) in enumerate(counts, start=1):
        steps.add({"loss": np.float32(1), "gradient_norm": np.float32(1),
                   "proposals_per_image": np.float32(proposals),
                   "truncated_proposals_per_image": np.float32(truncated)}, {})
        if step % 2 == 0:
          steps.write(step)
  return [str(one.message) for one in caught]


def test_proposals_that_nms_leaves_are_reported_once_if_they_are_few():
  (message,) = _write(*[(60, 36200)] * 2, (34, 36200), (36, 36200), *[(30, 36200)] * 2)
  assert message.startswith("stage 1 has 35 proposals per image, though "
                            "train.proposals.num_proposals is 200: most of the 1000 best boxes")
  assert "Raise --train.proposals.pre-nms and --inference.proposals.pre-nms" in message


@pytest.mark.parametrize("counts", [(101, 36200), (34, 0), (34, 999)])
def test_many_proposals_or_all_that_there_are_are_no_reason_to_warn(counts):
  assert not _write(*[counts] * 6)
