"""mnc score: scores a results file."""

import json

from mnc_jax.cli.commands import Score
from mnc_jax.evaluation.metrics.records import read_files
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.metrics.tables import format_table


def run(options: Score) -> None:
  """Reads and checks both files, prints the scores, and writes them to --json."""
  ground_truth, results = read_files(options.ground_truth, options.results, options.protocol,
                                     crowd_as_instances=options.crowd_as_instances)
  scores = score_results(ground_truth, results, protocols=(options.protocol,),
                         max_results=options.max_results)
  print(format_table(scores))
  if options.json:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(scores, indent=2) + "\n")
    print(f"Written to {options.json}")
