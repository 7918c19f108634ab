"""Trains the cascade: train.py --config FILE --workdir DIR [--section.field VALUE ...].

Started again with the same command, it goes on from the last checkpoint.
"""

import functools
import pathlib
import sys
import time

import jax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from command_line import end_with_message, parse_training
from mnc_jax import checkpoint, parallel, weights
from mnc_jax.cascade import init_params
from mnc_jax.config import Config, ModelConfig, with_categories
from mnc_jax.config_check import check_same_meaning
from mnc_jax.data import load_source, training_batches
from mnc_jax.optimizer import describe_groups
from mnc_jax.resnet import DEPTHS
from mnc_jax.train import check_finite, init_state
from validation import open_validation, validate


def main(arguments) -> None:
  """Reads the data, restores or initialises the state, and trains to `train.num_steps`."""
  workdir, config = parse_training(arguments)
  source = load_source(config.data, "train")
  config = with_categories(config, source.category_names)
  with checkpoint.open_checkpoints(workdir) as manager:
    try:
      state = train_on(source, config, workdir, manager)
    except KeyboardInterrupt:
      sys.exit(describe_interruption(manager.latest_step()))
  print(f"Done: {int(state.step)} steps. Checkpoints are in {workdir}; score them with\n"
        f"  python experiments/evaluate.py --workdir {workdir}")


def describe_interruption(saved: int | None) -> str:
  """Returns what is left of a run that the user stopped, whose last checkpoint is `saved`."""
  if saved is None:
    return ("Interrupted before the first checkpoint (train.checkpoint_every): the same command "
            "begins again.")
  return f"Interrupted. The same command goes on from the checkpoint of step {saved}."


def train_on(source, config: Config, workdir, manager):
  """Opens the batches where they were left, and trains; returns the last state."""
  state, notes = start_state(config, manager, source)
  batches = iter(training_batches(
      source, config.data, seed=config.train.seed, batch_size=config.data.batch_size,
      first_step=int(state.step), process_index=jax.process_index(),
      process_count=jax.process_count()))
  print(f"{len(source)} images, {len(source.category_names)} categories, "
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}")
  print(describe_groups(state.params, config))
  with (SummaryWriter(str(workdir / "logs")) as writer,
        open_validation(config, workdir, source.category_names, notes) as validation):
    save = functools.partial(checkpoint.save, manager, config=config, categories=source,
                             notes=notes)
    return train(state, batches, config, save, writer, validation)


def start_state(config: Config, manager, source):
  """Returns the state to go on from, of the last checkpoint or a fresh one, and its notes."""
  if manager.latest_step() is not None:
    return go_on(config, manager, source)
  key = jax.random.key(config.train.seed)
  origin = "random weights"
  params = jax.eval_shape(lambda: init_params(key, config))
  if config.train.init_weights:
    params, report = weights.load_pretrained(
        params, config.train.init_weights, config=config.model,
        reset_categories=config.train.init_reset_categories,
        only_trunk=config.train.init_only_trunk, category_names=source.category_names)
    print(report)
    origin = f"{report.kind}: {pathlib.Path(config.train.init_weights).name}"
  else:
    check_fresh_start(config.model)
  return init_state(weights.initialise_missing(params, key, config), config), {"source": origin}


def go_on(config: Config, manager, source):
  """Returns the state of the last checkpoint, of a run or imported, and its notes."""
  workdir = manager.directory.parent
  check_same_meaning(checkpoint.read_config(workdir).model, config.model, workdir)
  key = jax.random.key(config.train.seed)
  like = jax.eval_shape(lambda: init_state(init_params(key, config), config))
  if checkpoint.has_optimizer(manager):
    state = checkpoint.restore(manager, like, categories=source)
    print(f"Going on from the checkpoint of step {int(state.step)}.")
  elif config.train.init_weights:
    raise ValueError(f"{workdir} holds imported weights, but train.init_weights is "
                     f"{config.train.init_weights}: give another --workdir, or leave it out")
  else:
    params = checkpoint.restore_params(manager, like.params, categories=source)
    state = init_state(params, config)
    print("Starting from the imported weights of the workdir.")
  # Numbers to check are those of the imported weights alone.
  return state, {"source": checkpoint.saved_notes(manager).get("source", "unknown")}


def check_fresh_start(model: ModelConfig):
  """Refuses to train on what would stay random for ever.

  Raises:
    ValueError: if a part that never moves has no weights to load.
  """
  if model.trunk in DEPTHS and model.trunk_norm == "frozen_batch":
    raise ValueError(f"the batch normalisation of the {model.trunk} trunk is frozen, but it starts "
                     "from random weights: give --train.init-weights, or set --model.trunk-norm "
                     "group --model.frozen-blocks 0")
  if model.trunk != "small" and model.frozen_blocks:
    raise ValueError(f"{model.frozen_blocks} blocks of the {model.trunk} trunk are frozen, but it "
                     "starts from random weights: give --train.init-weights, or set "
                     "--model.frozen-blocks 0")


def train(state, batches, config: Config, save, writer, validation):
  """Runs the steps that are left, saves by `save(state)`; returns the last state."""
  options, first = config.train, int(state.step)
  step_fn, state = parallel.make_train_step(config), parallel.replicate(state)
  pending, started = [], time.perf_counter()
  with tqdm(total=options.num_steps, initial=first, unit="step", mininterval=1.0) as progress:
    for step in range(first + 1, options.num_steps + 1):
      batch, _ = next(batches)
      state, metrics = step_fn(state, parallel.shard(batch))
      pending.append(metrics)
      saves = is_due(step, options.checkpoint_every, options)
      validates = validation and is_due(step, options.evaluate_every, options)
      if saves or validates or is_due(step, options.log_every, options):
        # The only place where the host waits for the devices.
        pending = [parallel.unreplicate(jax.device_get(metrics)) for metrics in pending]
        seconds, started = time.perf_counter() - started, time.perf_counter()
        log(writer, step, pending, config.data.batch_size * len(pending) / seconds, progress)
        progress.update(len(pending))
        pending = []
      if saves:
        save(parallel.unreplicate(state))
      if validates:
        validate(validation, state, writer)
        started = time.perf_counter()
  return parallel.unreplicate(state)


def is_due(step: int, every: int, options) -> bool:
  """Says whether something done each `every` steps (0: never) is due; at the last step all is."""
  return step == options.num_steps or (every > 0 and step % every == 0)


def log(writer, step: int, fetched, images_per_second: float, progress) -> None:
  """Checks all steps since the last log and writes the means; stops if one was not finite."""
  for offset, metrics in enumerate(fetched, start=step - len(fetched) + 1):
    check_finite(offset, metrics)
  for name in fetched[0]:
    writer.add_scalar(f"train/{name}", sum(float(m[name]) for m in fetched) / len(fetched), step)
  writer.add_scalar("train/images_per_second", images_per_second, step)
  progress.set_postfix(loss=f"{float(fetched[-1]['loss']):.3f}",
                       images_s=f"{images_per_second:.1f}", refresh=False)


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
