"""Scores any results file: mnc score --protocol sds --ground-truth GT.json --results RES.json.

Both files are in COCO format; masks are RLE (in the ground truth polygons too), boxes are
[x, y, width, height]. Prints the scores per category; --json writes all of them.
"""

import argparse
import json
import pathlib

from mnc_jax.evaluation.metrics.files import read_files
from mnc_jax.evaluation.metrics.scoring import PROTOCOLS, score_results
from mnc_jax.evaluation.metrics.tables import format_table


def main(arguments) -> None:
  """Reads and checks both files, scores, prints, and writes the JSON if it is asked for."""
  options = read_options(arguments)
  ground_truth, results = read_files(options.ground_truth, options.results, options.protocol)
  scores = score_results(ground_truth, results, protocols=(options.protocol,))
  print(format_table(scores))
  if options.json:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(scores, indent=2) + "\n")
    print(f"Written to {options.json}")


def read_options(arguments):
  """Returns protocol and paths."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument(
      "--protocol", choices=PROTOCOLS, required=True,
      help="sds: mAP^r and mAP^b at IoU .5 and .7. coco: the 12 numbers for masks and boxes. "
      "boundary: the 12 numbers of Boundary AP")
  parser.add_argument("--ground-truth", type=pathlib.Path, required=True, metavar="GT.json")
  parser.add_argument("--results", type=pathlib.Path, required=True, metavar="RES.json")
  parser.add_argument("--json", type=pathlib.Path, metavar="OUT.json")
  return parser.parse_args(arguments)
