"""Trains the cascade: train.py --config FILE --workdir DIR [--section.field VALUE ...].

Started again with the same command, it goes on from the last checkpoint. SIGTERM makes it save
and end. On several hosts it is started on each, with --join-hosts or --coordinator.
"""

import contextlib
import functools
import json
import sys
from typing import NamedTuple

import jax

from command_line import end_with_message, parse_training
from event_log import EventLog
from hosts import join_hosts, watch
from mnc_jax import checkpoint, parallel, run_folder
from mnc_jax.config import Config, with_categories
from mnc_jax.config_json import to_json
from mnc_jax.data import load_source, training_batches
from mnc_jax.optimizer import describe_groups
from mnc_jax.train import NotFiniteError
from mnc_jax.watchdog import Watchdog
from replay import keep_batch
from saving import Saver
from schedule import is_due
from starting import start_state
from step_log import StepLog, count_left_out
from termination import Termination
from validation import Validation, open_validation, validate


class Run(NamedTuple):
  """What the steps of a run are done with."""
  config: Config
  saver: Saver
  log: EventLog
  steps: StepLog
  validation: Validation | None
  termination: Termination
  watchdog: Watchdog


def main(arguments) -> None:
  """Reads the data, restores or initialises the state, and trains to `train.num_steps`."""
  options, config = parse_training(arguments)
  join_hosts(options)
  workdir, termination = options.workdir, Termination()
  with claim(workdir, config):
    source = load_source(config.data, "train")
    config = with_categories(config, source.category_names)
    with checkpoint.open_checkpoints(workdir) as manager:
      checkpoint.remove_unfinished(manager)
      try:
        state = train_on(source, config, workdir, manager, termination)
      except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_interruption(manager.latest_step())) from None
  if int(state.step) < config.train.num_steps:
    print(f"Ended by SIGTERM after step {int(state.step)}, which is saved. The same command goes "
          "on.")
  else:
    print(f"Done: {int(state.step)} steps. Checkpoints are in {workdir}; score them with\n"
          f"  python experiments/evaluate.py --workdir {workdir}")


@contextlib.contextmanager
def claim(workdir, config: Config):
  """Keeps other runs out of the folder, and hosts from training apart."""
  parallel.check_same({f"{section}.{field}": value
                       for section, fields in json.loads(to_json(config)).items()
                       for field, value in fields.items()}, "the config field ")
  with contextlib.ExitStack() as stack:
    problem = None
    if parallel.is_first():
      try:
        stack.enter_context(run_folder.claim(workdir))
      except OSError as error:
        problem = str(error)
    parallel.fail_together(problem)
    parallel.check_same(run_folder.describe_owner(workdir), f"as lock of {workdir} ")
    yield


def describe_interruption(saved: int | None) -> str:
  """Returns what is left of a run that the user stopped, whose last checkpoint is `saved`."""
  if saved is None:
    return ("Interrupted before the first checkpoint (train.checkpoint_every): the same command "
            "begins again.")
  return f"Interrupted. The same command goes on from the checkpoint of step {saved}."


def train_on(source, config: Config, workdir, manager, termination: Termination):
  """Opens the batches where they were left, and trains; returns the last state."""
  state, notes = start_state(config, manager, source)
  first = int(state.step)
  print(f"{len(source)} images, {len(source.category_names)} categories, "
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}")
  print(describe_groups(state.params, config))
  save = functools.partial(
      checkpoint.save, manager, config=config, categories=source, notes=notes)
  with (EventLog(workdir / "logs" if parallel.is_first() else None, first_step=first + 1) as log,
        open_validation(config, workdir, source.category_names, notes) as validation,
        StepLog(log, config, first=first) as steps):
    needed = checkpoint.bytes_to_save(manager, state)
    if validation:
      needed += checkpoint.bytes_to_save(validation.best, state, keep=1)
    run_folder.check_space(workdir, needed=needed)
    run = Run(config, Saver(manager, save, saved=manager.latest_step()), log, steps, validation,
              termination, watch(config))
    try:
      return train(run, state, open_batches(source, config, first))
    except NotFiniteError as error:
      # Batches follow from seed and step, so that none has to be kept.
      bad = next(open_batches(source, config, error.step - 1))
      raise FloatingPointError(keep_batch(workdir, error, config, *bad)) from error


def open_batches(source, config: Config, first: int):
  """Returns this host's share of the batches after step `first`."""
  return iter(training_batches(
      source, config.data, seed=config.train.seed, batch_size=config.data.batch_size,
      first_step=first, process_index=jax.process_index(), process_count=jax.process_count()))


def train(run: Run, state, batches):
  """Runs the steps that are left, or those until SIGTERM; returns the last state, saved."""
  options, first, ends = run.config.train, int(state.step), False
  step_fn, state = parallel.make_train_step(run.config), parallel.replicate(state)
  if run.validation and run.validation.is_missed(first):
    validate_saved(run, state)
  for step in range(first + 1, options.num_steps + 1):
    batch, info = next(batches)
    state, metrics = step_fn(state, parallel.shard(batch))
    run.steps.add(metrics, count_left_out(info))
    run.termination.nothing_to_lose(False)
    ends = run.termination.reached(step)
    validates = run.validation and is_due(step, options.evaluate_every, options)
    saves = ends or validates or is_due(step, options.checkpoint_every, options)
    if saves or is_due(step, options.log_every, options):
      # The only place where the host waits for the devices.
      run.steps.write(step)
      run.watchdog.beat()
      run.saver.check()
      if saves or run.saver.error:
        run.saver.save(parallel.unreplicate(state))
    if ends:
      break
    if validates:
      validate_saved(run, state)
  run.saver.save_last(parallel.unreplicate(state), waits=lambda: not run.termination.requested)
  return parallel.unreplicate(state)


def validate_saved(run: Run, state) -> None:
  """Validates a state once it is on the disk, so that the run may be ended meanwhile."""
  run.saver.finish()
  run.termination.nothing_to_lose(not run.saver.error)
  validate(run.validation, state, run.log, beat=run.watchdog.beat)
  run.watchdog.beat()
  run.steps.restart_clock()


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
