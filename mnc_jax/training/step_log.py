"""Progress and metrics of the steps, on the screen and in the log."""

from collections.abc import Iterator
import contextlib
import time
from typing import Self
import warnings

import jax
import numpy as np
from tqdm.auto import tqdm

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.evaluation.progress import compiling
from mnc_jax.structs import Array, ImageInfo
from mnc_jax.training.metrics_log import MetricsLog
from mnc_jax.training.step import check_finite

_FEW = 0.5  # A share of `num_proposals`.


def count_left_out(info: ImageInfo) -> dict[str, int]:
  """Returns the counts of what a batch had to drop, by their names in the log."""
  # Batches of training are full: a slot without an image is one that could not be read.
  return {"skipped_images": int((info.image_ids < 0).sum()),
          "dropped_instances": int(info.dropped.sum())}


class StepLog:
  """Collects the metrics of steps on the devices, and fetches and logs them together."""

  def __init__(self, log: MetricsLog, config: Config, *, first: int):
    """Opens the progress bar of a run that resumes after step `first`."""
    self._log, self._images = log, config.data.batch_size
    self._pending, self._left_out, self._shapes = [], [], set()
    self._proposals, self._few, self._warned = config.train.proposals, False, False
    self._progress = tqdm(total=config.train.num_steps, initial=first, unit="step",
                          mininterval=1.0, disable=not parallel.is_first())
    self.restart_clock()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self._progress.close()

  def restart_clock(self) -> None:
    """Excludes the time since the last step from the images per second."""
    self._started = time.perf_counter()

  @contextlib.contextmanager
  def running(self, shape: tuple[int, ...]) -> Iterator[None]:
    """Shows on the bar that a step compiles, if it is the first with images of this shape."""
    with compiling(self._progress, first=shape not in self._shapes):
      self._shapes.add(shape)
      yield

  def add(self, metrics: dict[str, Array], left_out: dict[str, int]) -> None:
    """Adds the metrics of a step, still on the devices, and the counts of what was dropped."""
    self._pending.append(metrics)
    self._left_out.append(left_out)

  def write(self, step: int) -> None:
    """Waits for the devices and logs all steps since the last call; `step` is the last.

    Raises:
      NotFiniteError: if the loss or the gradient of one of them was not finite.
    """
    fetched = jax.device_get(self._pending)
    rate = self._images * len(fetched) / (time.perf_counter() - self._started)
    # Each host counts only its own share of the batches.
    shares = parallel.gather(self._left_out)
    for number, (metrics, *counts) in enumerate(
        zip(fetched, *shares, strict=True), start=step - len(fetched) + 1):
      check_finite(number, metrics)
      left_out = {name: sum(share[name] for share in counts) for name in counts[0]}
      speed = {"images_per_second": rate} if number == step else {}
      self._log.add_scalars(
          {f"train/{name}": value for name, value in (metrics | left_out | speed).items()}, number)
    self._log.flush(now=False)
    self._check_proposals(fetched)
    self._progress.update(len(fetched))
    self._progress.set_postfix(loss=f"{float(fetched[-1]['loss']):.3f}", images_s=f"{rate:.1f}",
                               refresh=False)
    self._pending, self._left_out = [], []
    self.restart_clock()

  def _check_proposals(self, fetched):
    """Warns once if NMS leaves few of the best boxes twice in a row: early on scores say little."""
    found, cut = (np.mean([metrics[name] for metrics in fetched])
                  for name in ("proposals_per_image", "truncated_proposals_per_image"))
    before, proposals = self._few, self._proposals
    # So many are cut before NMS alone.
    self._few = found < _FEW * proposals.num_proposals and cut > proposals.pre_nms
    if not (self._few and before) or self._warned:
      return
    self._warned = True
    warnings.warn(
        f"stage 1 has {found:.0f} proposals per image, though train.proposals.num_proposals is "
        f"{proposals.num_proposals}: most of the {proposals.pre_nms} best boxes overlap each "
        "other, and objects elsewhere get none. Raise --train.proposals.pre-nms and "
        "--inference.proposals.pre-nms", stacklevel=3)
