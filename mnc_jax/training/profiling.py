"""A profile of some training steps, which XProf and Perfetto open."""

import pathlib
from typing import Self
import warnings

import jax
from tqdm.auto import tqdm

from mnc_jax import parallel
from mnc_jax.config.paths import is_remote


class Profiler:
  """Records the steps `train.profile_steps` in `workdir/profile`; without them it does nothing.

  Each host writes a file of its own. A profile that cannot be started or written is a warning.
  """

  def __init__(self, workdir: pathlib.Path, steps: tuple[int, ...]):
    """Prepares to record.

    Args:
      workdir: of the run.
      steps: the first and the last step, or nothing.

    Raises:
      ValueError: if the workdir is in cloud storage, where profiles cannot be written.
    """
    if steps and is_remote(workdir):
      raise ValueError(f"train.profile_steps is {steps}, but a profile cannot be written to "
                       f"{workdir}: give a --workdir on a disk")
    self._folder = workdir / "profile"
    self._first, self._last = steps or (0, -1)
    self._records = False

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused: object) -> None:
    self._stop("the run ended there")

  def before(self, step: int) -> None:
    """Starts to record if `step` is the first one, or the first of a run that is resumed later."""
    if not self._first <= step <= self._last or self._records:
      return
    try:
      jax.profiler.start_trace(str(self._folder))
    except (OSError, RuntimeError) as error:  # The latter if another profile is being recorded.
      self._last = -1
      warnings.warn(f"a profile in {self._folder} could not be started ({error}); training "
                    "continues", stacklevel=2)
    else:
      self._records = True

  def step(self, step: int) -> jax.profiler.StepTraceAnnotation:
    """Marks the beginning and the end of a step in the profile; a context."""
    return jax.profiler.StepTraceAnnotation("train", step_num=step)

  def after(self, step: int, metrics: dict) -> None:
    """Waits for `metrics` of `step`, and stops, if it is the last one."""
    if self._records and step == self._last:
      jax.block_until_ready(metrics)
      self._stop(f"steps {self._first} to {self._last}")

  def _stop(self, what):
    if not self._records:
      return
    self._records = False
    try:
      jax.profiler.stop_trace()
    except (OSError, RuntimeError) as error:
      warnings.warn(f"the profile could not be written to {self._folder} ({error}); training "
                    "continues", stacklevel=3)
      return
    if parallel.is_first():
      tqdm.write(f"Profile in {self._folder} ({what}); see it by: pip install xprof, and xprof "
                 f"--logdir {self._folder}")
