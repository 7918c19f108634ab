"""Scores a model: evaluate.py --workdir DIR (or --weights FILE) [--section.field VALUE ...].

Scores masks and boxes by the protocols of SDS and COCO, and masks by Boundary AP. Prints a
table per category and writes it as DIR/evaluation.txt and, with all columns, .csv; .json has
everything. With --report it also writes a page of the worst images.
"""

import argparse
import json
import pathlib
import sys

import jax
from tqdm import tqdm

from command_line import end_with_message
from hosts import add_host_options, join_hosts, watch
from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.data import evaluation_batches, ground_truth, load_source
from mnc_jax.metrics.scoring import score_results
from mnc_jax.metrics.tables import format_csv, format_table
from mnc_jax.report import write_report
from mnc_jax.results import instances_to_results, merge_shares
from trained_models import (
  add_ensemble_option,
  add_model_options,
  first_difference,
  load_models,
)


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
                      help="also write what was found, as COCO results (score.py reads them)")
  add_host_options(parser)
  options, overrides = parser.parse_known_args(arguments)
  join_hosts(options)
  models = load_models(options, overrides, "evaluate.py --workdir DIR")
  config = models[0].config
  source = load_source(config.data, "eval")
  check_categories(models[0].category_names, source)
  watchdog = watch(config)
  results, counts = predict_all(
      parallel.make_predict_and_count([model.config for model in models]),
      parallel.replicate([model.params for model in models]), config, source, beat=watchdog.beat)
  watchdog.stop()
  if parallel.is_first():
    truth = ground_truth(source)
    scores = score_results(truth, results)
    counts = {"images": len(source), "instances_found": len(results),
              "skipped_images": source.skipped_images} | counts
    write_scores(options.output or options.workdir or pathlib.Path("evaluation"), scores, counts)
    if options.report:
      report_errors(options, source, truth, results, scores)
    if options.results:
      options.results.parent.mkdir(parents=True, exist_ok=True)
      options.results.write_text(json.dumps(results))


def check_categories(category_names, source) -> None:
  """Refuses a split of other categories than the model's."""
  if tuple(source.category_names) != tuple(category_names):
    ours, theirs = first_difference(category_names, source.category_names)
    raise ValueError(
        f"the model knows {len(category_names)} categories and {source.name} has "
        f"{len(source.category_names)}, which differ from {ours!r} and {theirs!r} on: evaluate on "
        "the set it was trained for (data.dataset, data.data_dir), or train on this one")


def positive_int(text: str) -> int:
  """Reads a count of at least 1 for argparse, which tells the message to the user."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
  return int(text)


def report_errors(options, source, truth: dict, results, scores: dict) -> None:
  """Writes the page of the worst images and tells where it is."""
  head = {f"mAP^r at IoU {at}": scores[at]["mean_ap_11point"] for at in ("0.5", "0.7")}
  columns = {f"AP^r@{at}": scores[at]["ap_11point"] for at in ("0.5", "0.7")}
  page = write_report(options.report, truth, results, source.read_image,
                      title=f"Errors on {pathlib.Path(source.name).name}", scores=head,
                      category_scores=columns, max_images=options.report_images,
                      min_score=options.report_min_score)
  print(f"The worst images: {page}")


def predict_all(find, models, config: Config, source, *, beat=lambda: None) -> tuple[list, dict]:
  """Predicts each image of a split exactly once.

  Args:
    find: from `parallel.make_predict_and_count`.
    models: replicated, the parameters of each.
    config: of the first model.
    source: the split.
    beat: called after each batch, for a `Watchdog`.

  Returns:
    COCO results of the whole split, and what found no place in the model's static shapes.
  """
  batches = evaluation_batches(
      source, config.data, batch_size=config.data.eval_batch_size,
      process_index=jax.process_index(), process_count=jax.process_count())
  results, seen, truncated, dropped = [], [], 0, 0
  for batch, info in tqdm(batches, unit="batch", desc="predicting"):
    found, left_out = parallel.unshard(
        find(models, *parallel.shard((batch.images, batch.image_sizes))))
    results += instances_to_results(found, info, source.category_ids,
                                    mask_threshold=config.inference.mask_threshold)
    seen += [int(i) for i in info.image_ids if i >= 0]
    truncated += int(left_out.proposals.sum())
    dropped += int(left_out.instances.sum())
    beat()
  shares = parallel.gather([seen, results, truncated, dropped])
  return merge_shares([share[:2] for share in shares], source.image_ids), {
      "truncated_proposals": sum(share[2] for share in shares),
      "dropped_instances": sum(share[3] for share in shares)}


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


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
