"""mnc replay: examines a training step whose loss or gradient was not finite."""

import collections
import operator
import pathlib

import jax

from mnc_jax import parallel
from mnc_jax.cli.commands import Replay
from mnc_jax.config import Config
from mnc_jax.config.serialization import from_json
from mnc_jax.data import load_source, training_batches
from mnc_jax.training import checkpoint, diagnosis
from mnc_jax.training.initial_state import start_state
from mnc_jax.training.parallel_step import make_train_step


def run(options: Replay) -> None:
  """Repeats the steps up to the batch, and prints its losses and gradients."""
  batch, image_ids, notes = diagnosis.load_batch(options.batch)
  config = from_json(notes["config"])
  if not options.workdir.is_dir():
    raise FileNotFoundError(f"--workdir {options.workdir}: no such folder")
  if notes["all_devices"] != jax.device_count():
    print(f"Note: the run had {notes['all_devices']} devices and this machine has "
          f"{jax.device_count()}: in the steps up to the batch, other anchors and RoIs are "
          "sampled.")
  params = params_before(options.workdir, config, notes["step"])
  losses, bad = [], collections.Counter()
  share = len(image_ids) // notes["devices"]
  for device in range(notes["devices"]):
    rows = slice(device * share, (device + 1) * share)
    part = jax.tree.map(operator.itemgetter(rows), batch)
    sampling = {"step": notes["step"], "device": notes["first"] + device, "config": config}
    terms = diagnosis.image_losses(params, part, **sampling)
    losses += [(int(image_id), {name: values[row] for name, values in terms.items()})
               for row, image_id in enumerate(image_ids[rows]) if image_id >= 0]
    bad.update(diagnosis.nonfinite_gradients(params, part, **sampling))
  print(describe(losses, bad))


def params_before(workdir: pathlib.Path, config: Config, step: int) -> dict:
  """Returns the parameters before the step, by repeating the steps since the last checkpoint.

  Raises:
    ValueError: if the last checkpoint is of that step or a later one.
  """
  source, mesh = load_source(config.data, "train"), parallel.make_mesh()
  with checkpoint.open_checkpoints(workdir) as manager:
    state, _ = start_state(config, manager, source, mesh)
  first = int(state.step)
  if first >= step:
    raise ValueError(f"the last checkpoint of {workdir} is of step {first}, after step {step}: the "
                     "run has continued since")
  batches = iter(training_batches(source, config.data, seed=config.train.seed,
                                  batch_size=config.data.batch_size, first_step=first))
  step_fn = make_train_step(config, mesh)
  for _ in range(first, step - 1):
    state, _ = step_fn(state, parallel.put_batch(next(batches)[0], mesh))
  return jax.tree.map(lambda x: x.addressable_data(0), state.params)


def describe(losses: list, bad: dict) -> str:
  """Returns a table of losses per image, and the parameters with non-finite gradients.

  Args:
    losses: (image id, {term: value}) for each image of the batch, which may have one twice.
    bad: {path of a parameter: number of non-finite entries}.
  """
  terms = losses[0][1] if losses else {}
  lines = [f"{'image':>12}" + "".join(f"{name:>13}" for name in terms)]
  lines += [f"{image_id:12}" + "".join(f"{value:13.6g}" for value in values.values())
            for image_id, values in losses]
  lines += [f"{count} entries of the gradient of {path} are not finite"
            for path, count in bad.items()]
  return "\n".join(lines if bad else [*lines, "All gradients are finite."])
