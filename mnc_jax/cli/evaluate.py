"""Scores a model: mnc evaluate --workdir DIR (or --weights FILE) [--section.field VALUE ...].

Scores masks and boxes by the protocols of SDS and COCO, and masks by Boundary AP. Prints a
table per category and writes it as DIR/evaluation.txt and, with all columns, .csv; .json has
everything. With --report it also writes a page of the worst images.
"""

import argparse
import json
import pathlib

from mnc_jax import parallel
from mnc_jax.cli.hosts import add_host_options, join_hosts
from mnc_jax.cli.models import (
  add_ensemble_option,
  add_model_options,
  load_models,
)
from mnc_jax.data import load_source, make_ground_truth
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.metrics.tables import format_csv, format_table
from mnc_jax.evaluation.predict_split import check_categories, make_predict_and_count, predict_all
from mnc_jax.evaluation.report import write_report
from mnc_jax.training.watchdog import watch


def main(arguments) -> None:
  """Predicts the evaluation split, scores it, prints and writes the scores."""
  parser = argparse.ArgumentParser(
      description=__doc__, allow_abbrev=False,
      epilog="Config fields can be overridden: --inference.max-instances 50 ...")
  add_model_options(parser)
  add_ensemble_option(parser)
  parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                      help="where evaluation.* go (default: the workdir)")
  parser.add_argument("--report", type=pathlib.Path, metavar="DIR",
                      help="write DIR/index.html, which shows the worst images and their errors")
  parser.add_argument("--report-images", type=positive_int, default=100, metavar="N",
                      help="how many images the report shows at most (default: 100)")
  parser.add_argument("--report-min-score", type=float, default=0.3, metavar="SCORE",
                      help="the report shows results from this score on (default: 0.3)")
  parser.add_argument("--results", type=pathlib.Path, metavar="FILE.json",
                      help="also write what was found, as COCO results (mnc score reads them)")
  add_host_options(parser)
  options, overrides = parser.parse_known_args(arguments)
  join_hosts(options)
  models = load_models(options, overrides, "mnc evaluate --workdir DIR")
  config = models[0].config
  source = load_source(config.data, "eval")
  check_categories(models[0].category_names, source)
  watchdog = watch(config)
  results, counts = predict_all(
      make_predict_and_count([model.config for model in models]),
      parallel.replicate([model.params for model in models]), config, source, beat=watchdog.beat)
  watchdog.stop()
  if parallel.is_first():
    ground_truth = make_ground_truth(source)
    scores = score_results(ground_truth, results)
    counts = {"images": len(source), "instances_found": len(results),
              "skipped_images": source.skipped_images} | counts
    write_scores(options.output or options.workdir or pathlib.Path("evaluation"), scores, counts)
    if options.report:
      report_errors(options, source, ground_truth, results, scores)
    if options.results:
      options.results.parent.mkdir(parents=True, exist_ok=True)
      options.results.write_text(json.dumps(results))


def positive_int(text: str) -> int:
  """Reads a count of at least 1 for argparse, which tells the message to the user."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
  return int(text)


def report_errors(options, source, ground_truth: dict, results, scores: dict) -> None:
  """Writes the page of the worst images and tells where it is."""
  head = {f"mAP^r at IoU {at}": scores[at]["mean_ap_11point"] for at in ("0.5", "0.7")}
  columns = {f"AP^r@{at}": scores[at]["ap_11point"] for at in ("0.5", "0.7")}
  page = write_report(options.report, ground_truth, results, source.read_image,
                      title=f"Errors on {pathlib.Path(source.name).name}", scores=head,
                      category_scores=columns, max_images=options.report_images,
                      min_score=options.report_min_score)
  print(f"The worst images: {page}")


def write_scores(folder: pathlib.Path, scores: dict, counts: dict) -> None:
  """Prints the table, and writes it and `evaluation.json`: the first numbers, then the rest."""
  summary = {
      "mean_ap_r_50": scores["0.5"]["mean_ap_11point"],
      "mean_ap_r_70": scores["0.7"]["mean_ap_11point"],
      "mean_ap_b_50": scores["boxes"]["0.5"]["mean_ap_11point"],
      "mean_ap_b_70": scores["boxes"]["0.7"]["mean_ap_11point"],
  } | counts | scores
  folder.mkdir(parents=True, exist_ok=True)
  table = format_table(scores)
  for suffix, text in (("txt", table + "\n"), ("csv", format_csv(scores)),
                       ("json", json.dumps(summary, indent=2) + "\n")):
    (folder / f"evaluation.{suffix}").write_text(text)
  print(f"{table}\n\nmAP^r at IoU .5: {summary['mean_ap_r_50']:.3f}, at .7: "
        f"{summary['mean_ap_r_70']:.3f} ({counts['images']} images). Written to "
        f"{folder}/evaluation.txt, .csv and .json")
