"""Runs real-file kinds through the commands: kind, expected, got.

    python tests/file_kinds/run.py            # needs tests/ on PYTHONPATH
    python tests/file_kinds/run.py --train    # and three training steps, evaluate, predict, score
"""

import argparse
import contextlib
import io
import pathlib
import re
import sys
import tempfile

from file_kinds.base import IMAGES
from file_kinds.outcome import KINDS, check
from mnc_jax import cli
from mnc_jax.coco.faults import count_noun

_CONFIG = """
from helpers import tiny

def get_config():
  return tiny.tiny_config(
      model={{"num_categories": 0}},
      train={{"num_steps": 3, "checkpoint_every": 3, "log_every": 1}},
      data={{"dataset": {dataset!r}, "data_dir": {data_dir!r}, "batch_size": 2,
            "eval_batch_size": 2, "flip": False, **{data!r}}})
"""


def main() -> None:
  """Prints a line per kind; the status is 1 if any is wrong."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--train", action="store_true", help="run all commands, not only prepare")
  parser.add_argument("--only", default="", help="kinds whose name contains this text")
  options = parser.parse_args()
  chosen = {name: kind for name, kind in KINDS.items() if options.only in name}
  wrong = [name for name in chosen if not report(name, train=options.train)]
  print(": ".join(filter(None, [f"{count_noun(len(chosen), 'kind')}, {len(wrong)} wrong",
                                ", ".join(wrong)])))
  sys.exit(bool(wrong))


def report(name: str, *, train: bool) -> bool:
  """Runs a kind in a temporary folder, prints what came out, and returns whether it is right."""
  kind = KINDS[name]
  with tempfile.TemporaryDirectory() as folder:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      right, got = check(kind, pathlib.Path(folder))
    if right and train and kind.expected == "read":
      right, trained = run_commands(kind, pathlib.Path(folder))
      got = f"{got}; {trained}"
  expected = kind.expected if not kind.remark else f"{kind.expected}, remark {kind.remark!r}"
  print(f"{'ok   ' if right else 'WRONG'} {name:34} {expected:28} {' '.join(got.split())[:140]}",
        flush=True)
  return right


def run_commands(kind, folder: pathlib.Path) -> tuple[bool, str]:
  """Trains three steps on a prepared kind, evaluates, predicts and scores."""
  config, workdir = folder / "config.py", str(folder / "run")
  config.write_text(_CONFIG.format(dataset=kind.dataset, data_dir=str(folder / "data"),
                                   data=kind.data))
  results, printed = folder / "results.json", io.StringIO()
  truth = folder / "source" / "instances_val.json"
  pictures = sorted((folder / "source").rglob("*/[34].*"))[:1]
  try:
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
      cli.call("train", ["--config", str(config), "--workdir", workdir])
      cli.call("evaluate", ["--workdir", workdir, "--results", str(results)])
      for picture in pictures:
        cli.call("predict", ["--workdir", workdir, "--output", str(folder / "out"), str(picture)])
      if truth.is_file():
        cli.call("score", ["--protocol", "coco", "--ground-truth", str(truth), "--results",
                           str(results), *_score_options(kind)])
  except (ValueError, SystemExit) as error:
    return False, f"{type(error).__name__}: {error}"
  # Where a kind has no validation images of its own, one of the five is drawn.
  scored = re.search(rf"\((1 image|{IMAGES['val']} images)\)", printed.getvalue())
  return scored is not None, "trained, evaluated, predicted"


def _score_options(kind):
  return ["--crowd-as-instances"] if kind.data.get("crowd_as_instances") else []


if __name__ == "__main__":
  main()
