"""What the scripts share: a config file with typed overrides, and an end with a message."""

import argparse
import os
import pathlib
import runpy
import sys
import traceback
import warnings

import jax
import tyro

from mnc_jax.cli.hosts import add_host_options, end_alone
from mnc_jax.config import Config
from mnc_jax.config.validation import check_effects, check_values


def load_config(path: pathlib.Path) -> Config:
  """Runs a config file and returns what its `get_config()` gives.

  Raises:
    SystemExit: with one sentence, if there is no such file or function.
  """
  if not path.is_file():
    sys.exit(f"--config {path}: no such file. Those that come along are in experiments/configs/.")
  try:
    get_config = runpy.run_path(str(path)).get("get_config")
  except Exception as error:
    sys.exit(f"--config {path}: {type(error).__name__}: {error}")
  if get_config is None:
    sys.exit(f"--config {path}: the file defines no function get_config().")
  config = get_config()
  if not isinstance(config, Config):
    sys.exit(f"--config {path}: get_config() returned {type(config).__name__}, not a Config.")
  return config


def parse_training(arguments) -> tuple[argparse.Namespace, Config]:
  """Reads `--config FILE --workdir DIR [--section.field VALUE ...]`, and the flags of hosts.

  An unknown field or a value of the wrong type ends the program with a message that
  names it.
  """
  parser = argparse.ArgumentParser(
      description="Train the cascade. Every field of the config can be overridden: "
      "--train.num_steps 100 --model.roi_method matmul ...", allow_abbrev=False)
  parser.add_argument("--config", type=pathlib.Path, required=True, metavar="FILE")
  parser.add_argument("--workdir", type=pathlib.Path, required=True, metavar="DIR")
  add_host_options(parser)
  options, overrides = parser.parse_known_args(arguments)
  program = "mnc train --config FILE --workdir DIR"
  config = override(load_config(options.config), overrides, program)
  check_effects(config)
  return options, config


_format_with_place = warnings.formatwarning


def _format_warning(message, category, *place):
  # Where in the code it was said helps only with the warnings of other libraries.
  return (f"warning: {message}\n" if category is UserWarning
          else _format_with_place(message, category, *place))


def override(config: Config, overrides, program: str) -> Config:
  """Applies `--section.field VALUE ...`; an unknown field or wrong type ends the program.

  Raises:
    ValueError: for a value that no run can have.
  """
  config = tyro.cli(Config, default=config, args=overrides, prog=program)
  check_values(config)
  return config


def end_with_message(main, arguments, *, interrupted: str = "Interrupted.") -> None:
  """Runs `main(arguments)`; mistakes of the user end with their message, not a traceback.

  Args:
    main: the program.
    arguments: of the command line.
    interrupted: what to say when the user stops it.
  """
  warnings.formatwarning, sys.unraisablehook = _format_warning, _tell_unraisable
  try:
    main(arguments)
  except (OSError, ValueError, FloatingPointError, jax.errors.JaxRuntimeError) as error:
    reason = _describe_runtime_error(error) if isinstance(
        error, jax.errors.JaxRuntimeError) else error
    if os.environ.get("MNC_TRACEBACK") or reason is None:
      raise
    message = (f"{pathlib.Path(sys.argv[0]).name}: {reason}\n"
               "(MNC_TRACEBACK=1 shows where in the code this was found.)")
    end_alone(message)
    sys.exit(message)
  except KeyboardInterrupt as stopped:
    end_alone(str(stopped) or interrupted)
    sys.exit(str(stopped) or interrupted)
  except Exception:
    end_alone(traceback.format_exc())
    raise


def _describe_runtime_error(error):
  """Returns what a user can do about an error of the devices, None if nothing is known."""
  first = str(error).splitlines()[0][:200]
  if "RESOURCE_EXHAUSTED" in first:
    return ("the memory of a device is too small: lower data.batch_size (or data.eval_batch_size), "
            f"model.roi_chunk or the sizes of data.buckets ({first})")
  if jax.process_count() > 1:
    return ("another host died or is out of reach; the same command on all hosts goes on from the "
            f"last checkpoint ({first})")
  return None


def _tell_unraisable(unraisable):
  # After a failed write the storage library tells event loops that are gone; the error of the
  # write itself is raised.
  if str(unraisable.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(unraisable)
