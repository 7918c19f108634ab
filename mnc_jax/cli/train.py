"""mnc train: trains the cascade, or resumes training."""

from collections.abc import Iterator
import contextlib
import json
import pathlib
import shlex

from mnc_jax import parallel
from mnc_jax.cli.commands import Train
from mnc_jax.cli.hosts import check_joined, join_hosts
from mnc_jax.cli.parse import usage_errors
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config, with_categories
from mnc_jax.config.serialization import to_json
from mnc_jax.config.validation import check_effects, check_pooling
from mnc_jax.data import load_source
from mnc_jax.model.losses import check_losses
from mnc_jax.training import checkpoint, run_folder
from mnc_jax.training.log_writers import check_installed
from mnc_jax.training.loop import train_on
from mnc_jax.training.preemption import Termination


def run(options: Train) -> None:
  """Reads the data, restores or initialises the state, and trains to `train.num_steps`."""
  config, workdir = options.experiment, options.workdir
  with usage_errors():
    check_effects(config)
    check_pooling(config)
    check_installed(config.train.log_to)
    check_losses(config.train)
  join_hosts(options.hosts)
  check_joined(workdir)
  with Termination() as termination:
    state = _train(config, workdir, termination)
    print(_describe_end(int(state.step), config.train.num_steps, workdir, termination.ended))


def _train(config, workdir, termination):
  with claim(workdir, config):
    source = load_source(config.data, "train")
    config = with_categories(config, source.category_names)
    with checkpoint.open_checkpoints(workdir) as manager:
      checkpoint.remove_unfinished(manager)
      try:
        return train_on(source, config, workdir, manager, termination)
      except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_interruption(manager.latest_step())) from None


def _describe_end(step, last, workdir, ended):
  if ended and step < last:
    return f"Stopped by SIGTERM after step {step}, which is saved. The same command resumes."
  return (f"Done: {count_noun(step, 'step')}. Checkpoints are in {workdir}; score them with\n"
          f"  mnc evaluate --workdir {shlex.quote(str(workdir))}")


@contextlib.contextmanager
def claim(workdir: pathlib.Path, config: Config) -> Iterator[None]:
  """Keeps other runs out of the folder, and checks that all hosts run the same command."""
  parallel.check_same(json.loads(to_json(config)), "the config field ")
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
  """Returns the message for a run stopped by Ctrl-C, whose last checkpoint is of step `saved`."""
  if saved is None:
    return ("Interrupted before the first checkpoint (train.checkpoint_every): the same command "
            "starts again.")
  return f"Interrupted. The same command resumes from the checkpoint of step {saved}."
