"""Scores a model: evaluate.py --workdir DIR (or --weights FILE) [--section.field VALUE ...].

Prints mAP^r (average precision by mask overlap) per category and writes
DIR/evaluation.json. With --report it also writes a page of the worst images.
"""

import argparse
import json
import pathlib
import sys

from tqdm import tqdm

from command_line import add_model_options, end_with_message, load_model
from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.data import evaluation_batches, ground_truth, load_source
from mnc_jax.metrics import voc
from mnc_jax.report import write_report
from mnc_jax.results import instances_to_results


def main(arguments) -> None:
  """Predicts the evaluation split, scores it, prints and writes the scores."""
  parser = argparse.ArgumentParser(
      description=__doc__, allow_abbrev=False,
      epilog="Config fields can be overridden: --inference.max-instances 50 ...")
  add_model_options(parser)
  parser.add_argument("--output", type=pathlib.Path, metavar="DIR",
                      help="where evaluation.json goes (default: the workdir)")
  parser.add_argument("--report", type=pathlib.Path, metavar="DIR",
                      help="write DIR/index.html, which shows the worst images and their errors")
  parser.add_argument("--report-images", type=positive_int, default=100, metavar="N",
                      help="how many images the report shows at most (default: 100)")
  options, overrides = parser.parse_known_args(arguments)
  model = load_model(options.workdir, options.weights, overrides, "evaluate.py --workdir DIR")
  config = model.config
  source = load_source(config.data, "eval")
  if tuple(source.category_names) != model.category_names:
    raise ValueError(f"the model knows {list(model.category_names)}, but the evaluation set has "
                     f"{list(source.category_names)}")
  results, images = predict_all(model.params, config, source)
  score = voc.average_precisions(ground_truth(source), results)
  print(voc.format_table(score))
  output = options.output or options.workdir or pathlib.Path("evaluation")
  write_score(output / "evaluation.json", score, images, results)
  if options.report:
    report_errors(options.report, source, results, score, options.report_images)


def positive_int(text: str) -> int:
  """Reads a count of at least 1 for argparse, which tells the message to the user."""
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
  return int(text)


def report_errors(folder: pathlib.Path, source, results, score: voc.Score, images: int) -> None:
  """Writes the page of the worst images and tells where it is."""
  scores = {f"mAP^r at IoU {threshold:g}": part.mean_ap_11point
            for threshold, part in score.thresholds.items()}
  columns = {f"AP^r@{threshold:g}": part.ap_11point for threshold, part in score.thresholds.items()}
  page = write_report(folder, ground_truth(source), results, source.read_image,
                      title=f"Errors on {pathlib.Path(source.name).name}", scores=scores,
                      category_scores=columns, max_images=images)
  print(f"The worst images: {page}")


def predict_all(params, config: Config, source):
  """Returns COCO-format results of the whole split, and the number of images seen."""
  find, params = parallel.make_predict(config), parallel.replicate(params)
  batches = evaluation_batches(source, config.data, batch_size=config.data.eval_batch_size)
  results, seen = [], []
  for batch, info in tqdm(batches, unit="batch", desc="predicting"):
    found = find(params, *parallel.shard((batch.images, batch.image_sizes)))
    results += instances_to_results(parallel.unshard(found), info, source.category_ids,
                                    mask_threshold=config.inference.mask_threshold)
    seen += [int(i) for i in info.image_ids if i >= 0]
  if sorted(seen) != sorted(int(i) for i in source.image_ids):
    raise ValueError(f"{len(seen)} images were predicted, the split has {len(source)}: "
                     "each must be scored exactly once")
  return results, len(seen)


def write_score(path: pathlib.Path, score: voc.Score, images: int, results) -> None:
  """Writes `evaluation.json`: the two numbers everyone asks for, then the rest."""
  path.parent.mkdir(parents=True, exist_ok=True)
  summary = {
      "mean_ap_r_50": score.thresholds[0.5].mean_ap_11point,
      "mean_ap_r_70": score.thresholds[0.7].mean_ap_11point,
      "images": images,
      "instances_found": len(results),
  } | voc.to_dict(score)
  path.write_text(json.dumps(summary, indent=2) + "\n")
  print(f"mAP^r at IoU .5: {summary['mean_ap_r_50']:.3f}, at .7: {summary['mean_ap_r_70']:.3f} "
        f"({images} images). Written to {path}")


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
