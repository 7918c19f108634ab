"""The command line: `mnc COMMAND ...`, or `python -m mnc_jax COMMAND ...`."""

import importlib
import sys

# The module of each command. None is imported before it is chosen.
COMMANDS = {
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "prepare": "prepare",
    "score": "score",
    "export": "export_weights",
    "import-weights": "import_weights",
    "replay": "replay",
}


def run(command: str) -> None:
  """Runs one of `COMMANDS` with the arguments of this process."""
  from mnc_jax.cli.options import end_with_message

  module = importlib.import_module(f"mnc_jax.cli.{COMMANDS[command]}")
  end_with_message(module.main, sys.argv[1:])


def main() -> None:
  """Runs the command that the first argument names."""
  usage = f"usage: mnc {{{','.join(COMMANDS)}}} ..."
  command = sys.argv[1] if len(sys.argv) > 1 else ""
  if command in ("-h", "--help"):
    print(usage)
  elif command in COMMANDS:
    sys.argv[:2] = [f"mnc {command}"]
    run(command)
  else:
    sys.exit(f"{usage}\nmnc: {command!r} is no command" if command else usage)
