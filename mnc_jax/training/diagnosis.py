"""Diagnosis of a non-finite loss: the batch is saved, its losses and gradients are recomputed."""

import io
import json
import os
import pathlib
import shlex
from typing import Any
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.config.paths import as_path
from mnc_jax.config.serialization import to_json
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.structs import Array, Batch, ImageInfo
from mnc_jax.training.step import NotFiniteError, step_key
from mnc_jax.weights.tree import leaves_by_path


def save_batch(path: str | os.PathLike[str], batch: Batch, image_ids: Array, **notes: Any) -> None:
  """Writes a batch to a file for `load_batch`.

  Args:
    path: of the file, `.npz`.
    batch: of numpy arrays.
    image_ids: [B] int64.
    **notes: JSON values.

  Raises:
    OSError: if it cannot be written.
  """
  path = as_path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # Renamed when complete, so that a partial file never has this name.
  partial, content = path.with_suffix(".new.npz"), io.BytesIO()
  arrays = {name: array for name, array in batch._asdict().items() if array is not None}
  np.savez_compressed(content, image_ids=image_ids, notes=json.dumps(notes), **arrays)
  partial.write_bytes(content.getvalue())
  partial.replace(path)


def load_batch(path: str | os.PathLike[str]) -> tuple[Batch, np.ndarray, dict]:
  """Returns `(batch, image_ids, notes)` that `save_batch` wrote at `path`.

  Raises:
    ValueError: if the file is another one or damaged, naming it.
  """
  try:
    content = io.BytesIO(as_path(path).read_bytes())
    with np.load(content, allow_pickle=False) as arrays:
      batch = Batch(**{name: arrays[name] for name in Batch._fields
                       if name in arrays or name not in Batch._field_defaults})
      return batch, arrays["image_ids"], json.loads(str(arrays["notes"]))
  except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"{path} is not a batch that training saved: {error}") from error


def image_losses(params: dict, batch: Batch, *, step: int, device: int,
                 config: Config) -> dict[str, np.ndarray]:
  """Computes the loss of each image alone, with the anchors and RoIs sampled in the step.

  Args:
    params: before the step.
    batch: of one device.
    step: as in the log, from 1.
    device: index of the device among all; it and the step determine the key.
    config: of the run.

  Returns:
    {"loss": [B], "loss_1": [B], ...} float32 on the host, 0 for padding images.
  """
  # Each image keeps its row, which determines its key; the others become padding.
  kept = jnp.eye(len(batch.image_sizes), dtype=batch.image_sizes.dtype)
  rows = [_loss(params, batch._replace(image_sizes=batch.image_sizes * row[:, None]), step, device,
                config=config)[1] for row in kept]
  return {name: np.array([float(row[name]) for row in rows]) for name in sorted(rows[0])
          if name.startswith("loss")}


def _loss_of_step(params, batch, step, device, *, config):
  return cascade_loss(params, batch, step_key(config.train.seed, step - 1, device), config=config)


_loss = jax.jit(_loss_of_step, static_argnames="config")
_gradient = jax.jit(jax.grad(_loss_of_step, has_aux=True), static_argnames="config")


def nonfinite_gradients(params: dict, batch: Batch, *, step: int, device: int,
                        config: Config) -> dict[str, int]:
  """Returns {path of a parameter: number of non-finite entries of its gradient}.

  Arguments are those of `image_losses`. Parameters with a finite gradient are omitted.
  """
  found, _ = _gradient(params, batch, step, device, config=config)
  counts = {path: int(np.sum(~np.isfinite(leaf))) for path, leaf in leaves_by_path(found).items()}
  return {path: count for path, count in counts.items() if count}


def keep_batch(workdir: pathlib.Path, error: NotFiniteError, config: Config, batch: Batch,
               info: ImageInfo) -> str:
  """Saves the batch of the step of `error`; returns the message for the user.

  Args:
    workdir: of the run.
    error: names the step.
    config: of the run, which may not have been saved yet.
    batch: this host's rows.
    info: of its images.
  """
  share = f"_host_{jax.process_index()}" if parallel.process_count() > 1 else ""
  path = workdir / "not_finite" / f"step_{error.step}{share}.npz"
  images = [int(i) for i in info.image_ids if i >= 0]
  try:
    save_batch(
        path, batch, info.image_ids, step=error.step, config=to_json(config),
        devices=jax.local_device_count(), all_devices=jax.device_count(),
        first=jax.process_index() * jax.local_device_count())
    kept = ("The batch is saved. Examine it with\n"
            f"  mnc replay {shlex.quote(str(path))} --workdir {shlex.quote(str(workdir))}")
  except OSError as failure:
    kept = f"The batch could not be saved ({failure.strerror})."
  return f"{error}\nIts images: {images}. {kept}"
