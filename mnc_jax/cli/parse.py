"""Reads a command line: the options of a command, and every field of a config as an option."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import inspect
import runpy
import shlex
import shutil
import textwrap
import traceback
from typing import Any

import tyro

from mnc_jax import configs
from mnc_jax.cli.fields import REGISTRY, TRAINED_HELP, count_values, list_choices
from mnc_jax.config import Config
from mnc_jax.config.paths import as_local_path
from mnc_jax.config.validation import check_values

_TRAINED = ("Every field of the config that needs no new training is an option: of inference, of "
            "data, and of how the model is computed.")


class UsageError(ValueError):
  """A command line that cannot be run; the program ends with status 2 and a hint to --help."""


class ConfigError(UsageError):
  """A --config that is none, so that no help on its fields can be given."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
  """Turns a `ValueError` into a `UsageError`."""
  try:
    yield
  except ValueError as error:
    raise UsageError(str(error)) from error


def load_config(name: str) -> Config:
  """Returns a shipped config by its name, or what `get_config()` of a Python file returns.

  Raises:
    ConfigError: if there is neither, or the file does not give a config.
  """
  if name in configs.names():
    return configs.get(name)
  try:
    path = as_local_path(name, name="--config")
    if not path.is_file():
      configs.get(name)
  except ValueError as error:
    raise ConfigError(f"--config {name}: no such file, and {error}") from error
  try:
    definitions = runpy.run_path(str(path))
    if "get_config" not in definitions:
      raise ConfigError(f"--config {path}: it defines no function get_config()")
    config = definitions["get_config"]()
  except ConfigError:
    raise
  except (Exception, SystemExit) as error:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == str(path)]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    raise ConfigError(f"--config {where}: {type(error).__name__}: {error}") from error
  if not isinstance(config, Config):
    raise ConfigError(f"--config {path}: get_config() returned {type(config).__name__}, not a "
                     "mnc_jax.Config")
  return config


@dataclasses.dataclass(frozen=True)
class Named:
  """The values of options that decide on the defaults of the others."""
  config: str | None = None
  workdir: str | None = None
  weights: str | None = None


def find_named(arguments: Sequence[str]) -> Named:
  """Returns the values of --config, --workdir and --weights in a command line."""
  try:
    return tyro.cli(Named, args=arguments, return_unknown_args=True, add_help=False,
                    console_outputs=False)[0]
  except SystemExit:
    return Named()  # Parsing the whole line reports the error.


def find_details(kind: type, arguments: Sequence[str]) -> str:
  """Returns the options in a command line that decide on the defaults of others, as text."""
  named = find_named(arguments)
  given = {name: getattr(named, name) for name in _naming_options(kind)}
  return "".join(f" --{name} {shlex.quote(value)}" for name, value in given.items() if value)


def _naming_options(kind) -> list[str]:
  fields = {field.name for field in dataclasses.fields(kind)}
  return ["config"] if "config" in fields else ["workdir", "weights"] if "model" in fields else []


def parse(kind: Any, command: str, arguments: Sequence[str], *, base: Config | None = None) -> Any:
  """Reads the options of a command.

  Options may stand before, between and after positional arguments.

  Args:
    kind: dataclass of the options; a field `experiment` is a config.
    command: its name.
    arguments: what follows it on the command line.
    base: config that options change. Default: that of --config, or `Config()`.

  Returns:
    A `kind`.

  Raises:
    ConfigError: if --config gives no config.
    UsageError: if a field has a value that no run can have.
    SystemExit: with status 2 after a message for any other error, 0 after --help.
  """
  fields = dataclasses.fields(kind)
  options = {field.name: tyro.MISSING for field in fields if field.default is dataclasses.MISSING}
  about, registry = inspect.getdoc(kind) or "", REGISTRY
  if any(field.name == "experiment" for field in fields):
    named = find_named(arguments).config if "config" in options else None
    options["experiment"] = base or (load_config(named) if named else Config())
    trained = "config" not in options
    about += "\n\n" + (_TRAINED if trained else "Every field of the config is an option.")
    if trained and {"-h", "--help"} & set(arguments):
      registry = TRAINED_HELP
    if not named and not base:
      about += (" Its defaults below are those of mnc_jax.Config(); those of shapes are shown by "
                f"mnc {command} --{_naming_options(kind)[-1]} shapes --help.")
  parsed = tyro.cli(
      kind, prog=f"mnc {command}{find_details(kind, arguments)}", description=wrap(about),
      args=_move_positionals(kind, arguments), default=kind(**options), registry=registry)
  if "experiment" in options:
    with usage_errors():
      check_values(parsed.experiment)
  return parsed


def wrap(text: str) -> str:
  """Returns text in lines of the terminal's width, indented, since tyro would join others."""
  width = min(shutil.get_terminal_size().columns, 100)
  return "\n".join(
      paragraph if paragraph.startswith("  ") else textwrap.fill(
          paragraph, width, initial_indent="  ", subsequent_indent="  ")
      for paragraph in text.split("\n\n"))


def _move_positionals(kind, arguments):
  """Returns the arguments, positional ones first, so that none ends a list of numbers."""
  if not any(tyro.conf.Positional in getattr(field.type, "__metadata__", ())
             for field in dataclasses.fields(kind)):
    return arguments
  counts, choices = count_values(kind), list_choices(kind)
  options, positional, rest = [], [], list(arguments)
  while rest:
    token = rest.pop(0)
    if token == "--":
      positional += [f"./{path}" if path.startswith("-") else path for path in rest]
      break
    if not token.startswith("-") or _is_number(token):
      positional.append(token)
      continue
    options.append(token)
    flag = token.replace("_", "-")
    count = counts.get(flag, 0)
    # A list of any length ends with the first word that cannot be in it.
    belongs = choices[flag].__contains__ if flag in choices else _is_number
    while rest and (belongs(rest[0]) if count is None else count and rest[0][:2] != "--"):
      options.append(rest.pop(0))
      count = count and count - 1
  return [*positional, *options]


def _is_number(text):
  try:
    float(text)
  except ValueError:
    return False
  return True
