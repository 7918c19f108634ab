"""Reads damaged inputs in a process of its own: `worker.py MODULE`, whose `FAMILIES` it knows.

Each line of standard input is a family and a seed; each line of standard output the outcome.
"""

import faulthandler
import importlib
import io
import json
import os
import resource
import sys

from mutations.outcomes import judge

_MEMORY = 3 * 2**30  # Bytes more than after the imports: what an input may make a reader take.


def main(module: str) -> None:
  """Answers until there are no more lines."""
  answers = os.fdopen(os.dup(1), "w")
  sys.stdout = io.StringIO()  # What readers print is no answer.
  faulthandler.enable()
  families = importlib.import_module(module).FAMILIES
  _limit_memory()
  print("ready", file=answers, flush=True)
  for line in sys.stdin:
    name, seed = line.split()
    print(json.dumps(judge(name, families[name], int(seed))), file=answers, flush=True)


def _limit_memory():
  with open("/proc/self/statm") as status:
    taken = int(status.read().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, taken + _MEMORY))


if __name__ == "__main__":
  main(sys.argv[1])
