"""The training loop."""

from collections.abc import Iterator
import contextlib
import functools
import pathlib
from typing import NamedTuple

import jax
from jax.sharding import Mesh
import orbax.checkpoint as ocp

from mnc_jax import parallel
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config, TrainConfig
from mnc_jax.data import Source, training_batches, warn_of_shared_images
from mnc_jax.training import checkpoint, run_folder
from mnc_jax.training.changes import keep_start
from mnc_jax.training.checks import check_batch, check_fit
from mnc_jax.training.diagnosis import keep_batch
from mnc_jax.training.initial_state import start_state
from mnc_jax.training.log_writers import open_writers
from mnc_jax.training.metrics_log import MetricsLog
from mnc_jax.training.optimizer import describe_groups
from mnc_jax.training.parallel_step import make_train_step
from mnc_jax.training.preemption import Termination
from mnc_jax.training.profiling import Profiler
from mnc_jax.training.saving import Saver
from mnc_jax.training.step import NotFiniteError, TrainState
from mnc_jax.training.step_log import StepLog, count_left_out
from mnc_jax.training.validation import Validation, open_validation, validate
from mnc_jax.training.watchdog import Watchdog, watch


class Run(NamedTuple):
  """What the training loop uses beside state and batches."""
  config: Config
  mesh: Mesh
  saver: Saver
  log: MetricsLog
  steps: StepLog
  validation: Validation | None
  termination: Termination
  watchdog: Watchdog
  profiler: Profiler


def train_on(source: Source, config: Config, workdir: pathlib.Path,
             manager: ocp.CheckpointManager, termination: Termination) -> TrainState:
  """Starts or resumes the run of `workdir`, and trains; returns the last state."""
  mesh = parallel.make_mesh()
  check_batch(config.data.batch_size, mesh.size)
  check_fit(source, config)
  state, notes = start_state(config, manager, source, mesh)
  first = int(state.step)
  if first:
    config = keep_start(run_folder.read_config(workdir), config)
  print_head(source, config, state, mesh)
  save = functools.partial(
      checkpoint.save, manager, config=config, categories=source, notes=notes)
  with (watch(config) as watchdog,
        Profiler(workdir, config.train.profile_steps) as profiler,
        open_log(workdir, config, first) as log,
        open_validation(config, workdir, mesh, source.category_names, notes) as validation,
        StepLog(log, config, first=first) as steps):
    needed = checkpoint.bytes_to_save(manager, state)
    if validation:
      warn_of_shared_images(source, validation.source, config.data)
      needed += checkpoint.bytes_to_save(validation.best, state, keep=1)
    run_folder.check_space(workdir, needed=needed)
    run = Run(config, mesh, Saver(manager, save, saved=manager.latest_step()), log, steps,
              validation, termination, watchdog, profiler)
    try:
      return train(run, state, open_batches(source, config, first))
    except NotFiniteError as error:
      # Or closing the checkpoints would raise it instead.
      with contextlib.suppress(OSError):
        run.saver.finish(continues=False)
      # Batches follow from seed and step, so the bad one can be loaded again.
      bad = next(open_batches(source, config, error.step - 1))
      raise FloatingPointError(keep_batch(workdir, error, config, *bad)) from error


def print_head(source: Source, config: Config, state: TrainState, mesh: Mesh) -> None:
  """Prints what is trained, on what, and how its parameters are updated."""
  print(f"{count_noun(len(source), 'image')}, "
        f"{count_noun(len(source.category_names), 'category')}, "
        f"{sum(x.size for x in jax.tree.leaves(state.params)):,} parameters, "
        f"{mesh.size} x {mesh.devices[0].device_kind}")
  print(describe_groups(state.params, config))
  if config.train.average_decay:
    print("What is evaluated and saved as the model is the average of the weights over the steps "
          f"(train.average_decay {config.train.average_decay}).")


def open_log(workdir: pathlib.Path, config: Config, first: int) -> MetricsLog:
  """Opens the log of a run that starts after step `first`; only the first process writes it.

  Raises:
    OSError: on all processes, if a writer of `train.log_to` cannot be opened.
  """
  writers, problem = {}, None
  if parallel.is_first():
    try:
      writers = open_writers(workdir, config)
    except OSError as error:
      problem = str(error)
  parallel.fail_together(problem)
  return MetricsLog(workdir if parallel.is_first() else None, first_step=first + 1,
                    tensorboard="tensorboard" in config.train.log_to, writers=writers)


def open_batches(source: Source, config: Config, first: int) -> Iterator:
  """Returns this host's share of the batches after step `first`."""
  return iter(training_batches(
      source, config.data, seed=config.train.seed, batch_size=config.data.batch_size,
      first_step=first, process_index=jax.process_index(), process_count=jax.process_count()))


def train(run: Run, state: TrainState, batches: Iterator) -> TrainState:
  """Trains up to `train.num_steps`, or until SIGTERM; returns the last state, saved.

  Args:
    run: of `state`.
    state: on the devices of `run.mesh`; donated.
    batches: of the steps after `state.step`.
  """
  config, first, ends = run.config.train, int(state.step), False
  step_fn = make_train_step(run.config, run.mesh)
  # Collectives on CPU time out if another host begins to compile half a minute later.
  parallel.synchronize("training")
  if (run.validation and first and is_due(first, config.evaluate_every, config)
      and run.validation.is_missed(first)):
    validate_saved(run, state)
  last = first if is_stale(run, first) else config.num_steps
  for step in range(first + 1, last + 1):
    run.profiler.before(step)
    batch, info = next(batches)
    with run.steps.running(batch.images.shape), run.profiler.step(step):
      state, metrics = step_fn(state, parallel.put_batch(batch, run.mesh))
    run.profiler.after(step, metrics)
    run.steps.add(metrics, count_left_out(info))
    run.termination.nothing_to_lose(False)
    ends = run.termination.reached(step)
    validates = run.validation and is_due(step, config.evaluate_every, config)
    saves = ends or validates or is_due(step, config.checkpoint_every, config)
    if saves or is_due(step, config.log_every, config):
      # The host waits for the devices here only.
      run.steps.write(step)
      run.watchdog.beat()
      run.saver.check()
      if saves:
        run.log.flush()
      if saves or run.saver.error:
        run.saver.save(state)
    if ends:
      break
    if validates:
      validate_saved(run, state)
      if is_stale(run, step):
        break
  run.saver.save_last(state, waits=lambda: not run.termination.requested)
  return state


def is_due(step: int, every: int, config: TrainConfig) -> bool:
  """Returns whether what is done every `every` steps (0: never) and at the last one is due."""
  return step == config.num_steps or (every > 0 and step % every == 0)


def is_stale(run: Run, step: int) -> bool:
  """Returns whether the last `train.patience` validations found no better state; says so.

  It follows from what is saved of them, so a run that ended stays ended when it resumes.
  """
  patience = run.config.train.patience
  # A better state that could not be written is not among those that are saved.
  if not patience or run.validation is None or run.validation.saver.error:
    return False
  best, count = run.validation.best_step(), run.validation.count_since_best(step)
  if best is None or count < patience:
    return False
  print(f"Ends at step {step}: no better state in the last {count_noun(count, 'validation')}, the "
        f"best is of step {best} (train.patience {patience}).")
  return True


def validate_saved(run: Run, state: TrainState) -> None:
  """Validates a state after it is saved, so that SIGTERM may end the run during validation."""
  assert run.validation is not None
  run.saver.finish()
  run.termination.nothing_to_lose(not run.saver.error)
  validate(run.validation, state, run.log, beat=run.watchdog.beat)
  run.watchdog.beat()
  run.steps.restart_clock()
