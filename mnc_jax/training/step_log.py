"""What a run says of its steps: on the screen, and in the log."""

import time

import jax
from tqdm import tqdm

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.structs import ImageInfo
from mnc_jax.training.event_log import EventLog
from mnc_jax.training.step import check_finite


def count_left_out(info: ImageInfo) -> dict[str, int]:
  """Returns what a batch had to leave out, by the name it has in the log."""
  # In training no place only fills up: one without an image could not be read.
  return {"skipped_images": int((info.image_ids < 0).sum()),
          "dropped_instances": int(info.dropped.sum())}


class StepLog:
  """Gathers the metrics of steps on the devices, and fetches and writes them together.

  Each step is written by itself, so that a run that was interrupted anywhere leaves the same
  numbers as one that was not.
  """

  def __init__(self, log: EventLog, config: Config, *, first: int):
    """Opens the progress bar of a run that goes on after step `first`."""
    self._log, self._images = log, config.data.batch_size
    self._pending, self._left_out = [], []
    self._progress = tqdm(total=config.train.num_steps, initial=first, unit="step",
                          mininterval=1.0, disable=not parallel.is_first())
    self.restart_clock()

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._progress.close()

  def restart_clock(self) -> None:
    """Leaves what was done since the last step out of the images a second."""
    self._started = time.perf_counter()

  def add(self, metrics, left_out: dict[str, int]) -> None:
    """Takes the metrics of a step, still on the devices, and what its batch had to leave out."""
    self._pending.append(metrics)
    self._left_out.append(left_out)

  def write(self, step: int) -> None:
    """Waits for the devices and writes all steps since the last time; `step` is the last.

    Raises:
      NotFiniteError: if the loss or the gradient of one of them was not finite.
    """
    fetched = [parallel.unreplicate(metrics) for metrics in jax.device_get(self._pending)]
    rate = self._images * len(fetched) / (time.perf_counter() - self._started)
    # Each host knows only of its own share of the batches.
    shares = parallel.gather(self._left_out)
    for number, (metrics, *counts) in enumerate(
        zip(fetched, *shares, strict=True), start=step - len(fetched) + 1):
      check_finite(number, metrics)
      left_out = {name: sum(share[name] for share in counts) for name in counts[0]}
      self._log.add_scalars(
          {f"train/{name}": value for name, value in (metrics | left_out).items()}, number)
    self._log.add_scalars({"train/images_per_second": rate}, step)
    self._log.flush()
    self._progress.update(len(fetched))
    self._progress.set_postfix(loss=f"{float(fetched[-1]['loss']):.3f}", images_s=f"{rate:.1f}",
                               refresh=False)
    self._pending, self._left_out = [], []
    self.restart_clock()
