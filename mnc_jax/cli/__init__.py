"""The command line: `mnc COMMAND ...`, or `python -m mnc_jax COMMAND ...`."""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import operator
import sys
from typing import Annotated, Any

import tyro

from mnc_jax.cli.commands import COMMANDS, COMPILING
from mnc_jax.cli.compilation_cache import keep_compiled_programs
from mnc_jax.cli.errors import end_with_message
from mnc_jax.cli.parse import find_details, find_named, parse, wrap
from mnc_jax.config.paths import as_path


def main() -> None:
  """Runs the command that the first argument names."""
  arguments = sys.argv[1:]
  if arguments[:1] == ["--version"]:
    print(f"mnc {importlib.metadata.version('mnc_jax')}, "
          f"jax {importlib.metadata.version('jax')}")
  elif arguments and arguments[0] in COMMANDS:
    run(arguments[0], arguments=arguments[1:])
  elif arguments:
    end_with_message(_show_commands, arguments[:1], program="mnc")
  else:
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
      _show_commands(["--help"])
    sys.exit(2)


def run(command: str, *, arguments: Sequence[str] | None = None) -> None:
  """Runs a command of `COMMANDS`; errors of the user end the program with a message.

  Args:
    command: its name.
    arguments: of it; None: those of this process.
  """
  arguments = sys.argv[1:] if arguments is None else arguments
  end_with_message(call, command, arguments, program=f"mnc {command}",
                   details=find_details(COMMANDS[command], arguments))


def call(command: str, arguments: Sequence[str]) -> None:
  """Runs a command of `COMMANDS`; errors are raised."""
  kind = COMMANDS[command]
  options = parse(kind, command, arguments, base=_help_base(kind, arguments))
  # Only now: a wrong option is reported, and help shown, without the seconds that JAX takes.
  module = importlib.import_module(f"mnc_jax.cli.{command.replace('-', '_')}")
  if command in COMPILING:
    keep_compiled_programs()
  if hasattr(options, "model"):
    # The options change the config of a model, which is known only when it is loaded.
    module.run(options, lambda base: parse(kind, command, arguments, base=base).experiment)
  else:
    module.run(options)


def _help_base(kind, arguments):
  """Returns the config of the model whose options --help is to show, or None."""
  named = find_named(arguments)
  if not hasattr(kind, "model") or not {"-h", "--help"} & set(arguments):
    return None
  from mnc_jax.training import run_folder, trained_model
  if named.workdir:
    return run_folder.read_config(as_path(named.workdir))
  return trained_model.load(named.weights).config if named.weights else None


def _show_commands(arguments):
  """Shows the commands, or that there is none of the name given."""
  kinds: Any = (
      Annotated[dataclasses.make_dataclass(kind.__name__, []), tyro.conf.subcommand(
          name, description=kind.__doc__.partition("\n\n")[0])] for name, kind in COMMANDS.items())
  about = ("Multi-task Network Cascades: instance segmentation in JAX. mnc COMMAND --help explains "
           "the options of a command, mnc --version prints the version. Compiled programs are kept "
           "in ~/.cache/mnc_jax/compiled, or in the folder JAX_COMPILATION_CACHE_DIR.")
  tyro.cli(functools.reduce(operator.or_, kinds), prog="mnc", args=arguments,
           description=wrap(about))
