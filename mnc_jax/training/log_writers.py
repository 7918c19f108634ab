"""Further programs that a run is logged to, each from its own package: Weights & Biases, CLU."""

from collections.abc import Mapping
import dataclasses
import importlib
import os
import pathlib
import secrets
from typing import Any, Protocol

import numpy as np

from mnc_jax.config import Config
from mnc_jax.config.paths import is_remote

# What is imported for a name in `train.log_to`.
_MODULES = {"wandb": "wandb", "clu": "clu.metric_writers"}
_ID_FILE = "wandb_id"


class MetricWriter(Protocol):
  """What a run is logged to: the part of CLU's `MetricWriter` that is used."""

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes numbers by name."""

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Writes [N, H, W, 3] uint8 RGB pictures by name."""

  def flush(self) -> None:
    """Writes what waits in memory."""

  def close(self) -> None:
    """Ends the log of the run."""


def check_installed(names: tuple[str, ...]) -> None:
  """Raises ValueError if the package of a name in `train.log_to` cannot be imported."""
  for name in names:
    if name in _MODULES:
      _import(name)


def open_writers(workdir: pathlib.Path, config: Config) -> dict[str, MetricWriter]:
  """Opens the writers of a run by their names in `train.log_to`, except TensorBoard's.

  CLU writes to `workdir/clu`. Weights & Biases keeps its files in `workdir/wandb`, and the id of
  the run in `workdir/wandb_id`, by which a run that is resumed continues there too. Its own
  environment variables, such as WANDB_PROJECT, WANDB_NAME and WANDB_MODE, are followed.

  Args:
    workdir: of the run.
    config: of the run, which Weights & Biases shows.

  Raises:
    ValueError: if a package is missing.
    OSError: if a writer cannot be opened, as Weights & Biases without a login.
  """
  openers = {"wandb": _WandbWriter, "clu": _open_clu}
  return {name: _open(openers[name], name, workdir, config)
          for name in dict.fromkeys(config.train.log_to) if name in openers}


def _open(opener, name, workdir, config):
  package = _import(name)
  try:
    return opener(package, workdir, config)
  except Exception as error:  # Each package has errors of its own.
    raise OSError(f"train.log_to has {name}, which cannot be opened ({type(error).__name__}: "
                  f"{error}): correct that, or omit it") from error


def _import(name) -> Any:
  try:
    return importlib.import_module(_MODULES[name])
  except ImportError as error:
    raise ValueError(f"train.log_to has {name}, which cannot be imported ({error}): "
                     f"pip install 'mnc_jax[{name}]', or omit it") from error


def _open_clu(metric_writers, workdir, config):
  del config
  return metric_writers.create_default_writer(str(workdir / "clu"))


class _WandbWriter:
  """Weights & Biases as a `MetricWriter`."""

  def __init__(self, wandb, workdir, config):
    folder = {} if is_remote(workdir) else {"dir": str(workdir)}
    self._image = wandb.Image
    self._run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "mnc_jax"),
        name=os.environ.get("WANDB_NAME", workdir.name), id=_read_id(workdir),
        resume="allow", config=dataclasses.asdict(config), **folder)
    # Its own steps never go back, but those of a run that is resumed may.
    self._run.define_metric("step")
    self._run.define_metric("*", step_metric="step")

  def write_scalars(self, step, scalars):
    self._run.log({"step": step, **scalars})

  def write_images(self, step, images):
    self._run.log({"step": step} | {
        name: [self._image(image) for image in batch] for name, batch in images.items()})

  def flush(self):
    pass  # A process of its own sends what is logged.

  def close(self):
    self._run.finish()


def _read_id(workdir):
  path = workdir / _ID_FILE
  if not path.is_file():
    workdir.mkdir(parents=True, exist_ok=True)
    path.write_text(secrets.token_hex(4))
  return path.read_text().strip()
