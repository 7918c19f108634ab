"""Damages inputs of every reader and counts the outcomes: run.py [--inputs 5000] [--seed 0].

An input follows from its family and its seed: --family NAME --seed N --inputs 1 makes it again.
The program ends with status 1 if there was a fault.
"""

import argparse
import collections
import importlib.util
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[level]) for level in (1, 2)]

from mutations.workers import run  # noqa: E402

_MODULE = "mutations.families"
# Listed here, because only workers import the readers.
ALL_FAMILIES = ("coco", "results", "labels", "sbd", "images", "npz", "caffe_hdf5", "hdf5",
                "safetensors", "caffemodel", "torch", "models", "configs", "overrides")
_EVERY = 500  # Inputs.
# PyTorch is an extra: without it there are no files to damage.
FAMILIES = tuple(name for name in ALL_FAMILIES
                 if name != "torch" or importlib.util.find_spec("torch"))
_KINDS = ("rejected", "accepted", "fault")


def main(arguments) -> int:
  """Runs the inputs, prints the table and the faults, and returns the status."""
  options = _read_options(arguments)
  names = (options.family,) if options.family else FAMILIES
  inputs = [(names[number % len(names)], options.seed + number // len(names))
            for number in range(options.inputs)]
  start = time.monotonic()
  counts, faults = run(inputs, module=_MODULE, timeout=options.timeout,
                       report=_Progress(len(inputs)))
  print(format_table(counts))
  print(f"{len(inputs)} inputs, seeds {options.seed} ... {inputs[-1][1]}, "
        f"{time.monotonic() - start:.0f} s, {len(faults)} faults")
  return 1 if faults else 0


def _read_options(arguments):
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--inputs", type=int, default=5000)
  parser.add_argument("--seed", type=int, default=0, help="of the first input of each family")
  parser.add_argument("--family", choices=FAMILIES)
  parser.add_argument("--timeout", type=float, default=20.0,
                      help="seconds an input may compute or sleep")
  return parser.parse_args(arguments)


class _Progress:
  """Prints faults when they are found, and the table now and then."""

  def __init__(self, total):
    self._total, self._counts = total, collections.defaultdict(collections.Counter)

  def __call__(self, family, seed, outcome):
    self._counts[family][outcome.kind] += 1
    if outcome.kind == "fault":
      print(f"FAULT --family {family} --seed {seed}: {outcome.detail}", flush=True)
    done = sum(count.total() for count in self._counts.values())
    if done % _EVERY == 0 and done < self._total:
      print(f"{format_table(self._counts)}\n{done} of {self._total}\n", flush=True)


def format_table(counts) -> str:
  """Returns a line a family, and one of the sums."""
  rows = [(name, *(count[kind] for kind in _KINDS)) for name, count in counts.items()]
  total = ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))
  return "\n".join(f"{name:14}" + "".join(f"{cell:>10}" for cell in cells)
                   for name, *cells in [("", *_KINDS), *rows, total])


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
