"""mnc score: scores a results file."""

import json

from mnc_jax.cli.commands import Score
from mnc_jax.cli.parse import UsageError
from mnc_jax.evaluation.metrics import coco
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.metrics.tables import format_table


def run(options: Score) -> None:
  """Reads and checks both files, prints the scores, and writes them to --json."""
  _check_options(options)
  ground_truth, results = read_files(options.ground_truth, options.results, options.protocol,
                                     crowd_as_instances=options.crowd_as_instances)
  scores = score_results(ground_truth, results, protocols=(options.protocol,),
                         max_results=options.max_results)
  print(format_table(scores))
  if options.json:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(scores, indent=2) + "\n")
    print(f"Written to {options.json}")


def _check_options(options):
  for path in (options.ground_truth, options.results):
    if options.json and options.json.resolve() == path.resolve():
      raise UsageError(f"--json {options.json} is also what is scored: it would be lost")
  if options.protocol == "sds" and options.max_results != coco.MAX_RESULTS:
    raise UsageError("--max-results would have no effect: sds counts all results")
  if options.max_results < coco.LEAST_MAX_RESULTS:
    raise UsageError(f"--max-results is {options.max_results}: it must be "
                     f"{coco.LEAST_MAX_RESULTS} or more")
