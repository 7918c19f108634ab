"""A batch that led to a number that is not finite: kept in a file, and looked at term by term."""

import functools
import json
import pathlib
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.config.serialization import to_json
from mnc_jax.model.cascade import cascade_loss
from mnc_jax.structs import Batch
from mnc_jax.training.step import step_key
from mnc_jax.weights.tree import leaves_by_path


def save_batch(path, batch: Batch, image_ids, **notes) -> None:
  """Writes a batch to a file, from which `load_batch` reads it.

  Args:
    path: of the file, `.npz`.
    batch: of numpy arrays.
    image_ids: [B] int64.
    **notes: what JSON can hold.

  Raises:
    OSError: if it cannot be written.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # Renamed into place, so that no half of a file has the name.
  half = path.with_suffix(".new.npz")
  np.savez_compressed(half, image_ids=image_ids, notes=json.dumps(notes), **batch._asdict())
  half.replace(path)


def load_batch(path):
  """Returns `(batch, image_ids, notes)` that `save_batch` wrote at `path`.

  Raises:
    ValueError: if it is not such a file, naming it.
  """
  try:
    # Opened here, for numpy leaves a file that it refuses open.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
      batch = Batch(*(arrays[name] for name in Batch._fields))
      return batch, arrays["image_ids"], json.loads(str(arrays["notes"]))
  except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(f"{path} is not a batch that training saved: {error}") from error


def image_losses(params, batch: Batch, *, step: int, device: int, config: Config) -> dict:
  """Computes the loss of each image by itself, with the samples it had in its batch.

  Args:
    params: before the step.
    batch: of one device.
    step: as the log counts, from 1.
    device: its place among all devices, from which with the step the samples follow.
    config: the experiment.

  Returns:
    {"loss": [B], "loss_1": [B], ...} float32 on the host. Places without an image have 0.
  """
  evaluate = jax.jit(functools.partial(_loss_of_step, step=step, device=device, config=config))
  # Each keeps its place, from which its key follows; the others count as filling.
  others = jnp.eye(len(batch.image_sizes), dtype=batch.image_sizes.dtype)
  rows = [evaluate(params, batch._replace(image_sizes=batch.image_sizes * row[:, None]))[1]
          for row in others]
  return {name: np.array([float(row[name]) for row in rows]) for name in sorted(rows[0])
          if name.startswith("loss")}


def _loss_of_step(params, batch, *, step, device, config):
  return cascade_loss(params, batch, step_key(config.train.seed, step - 1, device), config=config)


def nonfinite_gradients(params, batch: Batch, *, step: int, device: int, config: Config) -> dict:
  """Returns {path of a parameter: how many of its gradient's entries are not finite}.

  Arguments are those of `image_losses`. Parameters whose gradient is finite are left out.
  """
  loss = functools.partial(_loss_of_step, step=step, device=device, config=config)
  found, _ = jax.jit(jax.grad(loss, has_aux=True))(params, batch)
  counts = {path: int(np.sum(~np.isfinite(leaf))) for path, leaf in leaves_by_path(found).items()}
  return {path: count for path, count in counts.items() if count}


def keep_batch(workdir: pathlib.Path, error, config: Config, batch, info) -> str:
  """Saves the batch of the step that `error` names; returns all that there is to say of it.

  Args:
    workdir: of the run.
    error: a `train.NotFiniteError`.
    config: of the run, which may not have been saved yet.
    batch: this host's share.
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
    kept = ("The batch is kept: look into it with\n"
            f"  mnc replay {path} --workdir {workdir}")
  except OSError as failure:
    kept = f"The batch could not be kept ({failure.strerror})."
  return f"{error}\nIts images: {images}. {kept}"
