"""mnc evaluate: scores a model on the evaluation split of its data set."""

from collections.abc import Callable
import functools
import json
import pathlib
import tempfile

import numpy as np

from mnc_jax import parallel
from mnc_jax.cli.commands import Evaluate
from mnc_jax.cli.hosts import join_hosts
from mnc_jax.cli.models import load_models
from mnc_jax.cli.parse import UsageError
from mnc_jax.cli.score_files import check_results_path, describe_origin, write_scores
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.config.paths import is_remote
from mnc_jax.config.serialization import differing_fields
from mnc_jax.data import Source, load_source, make_ground_truth
from mnc_jax.data.contrast import adapt_image
from mnc_jax.evaluation.metrics import coco
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.predict_image import find_instances
from mnc_jax.evaluation.predict_split import (
  check_categories,
  make_predict,
  predict_all,
  warn_of_limit,
)
from mnc_jax.evaluation.report import write_report
from mnc_jax.evaluation.tiles.plan import need_tiles
from mnc_jax.training.watchdog import watch


def run(options: Evaluate, override: Callable[[Config], Config]) -> None:
  """Predicts the evaluation split, scores it, prints and writes the scores."""
  _check_options(options)
  join_hosts(options.hosts)
  changed: list[dict] = []
  models = load_models(options.model, noting_changes(override, changed))
  config = models[0].config
  folder = options.output or options.model.workdir or pathlib.Path("evaluation")
  check_results_path(options.results, folder, config.data)
  source = load_source(config.data, "eval")
  check_categories(models[0].category_names, source)
  ground_truth = make_ground_truth(source)
  check_scorable(ground_truth, source)
  warn_of_limit(source, config, tiles=True)
  for needed in filter(None, (folder, options.report, options.results and options.results.parent)):
    _make_folder(needed)
  report_tiles(source, config)
  results, counts = _find_results(models, source)
  if parallel.is_first():
    if options.results:
      options.results.write_text(json.dumps(results))
    scores = score_results(ground_truth, results, max_results=options.max_results)
    counts = {"images": len(source), "instances_found": len(results),
              "skipped_images": source.skipped_images} | counts
    write_scores(folder, scores, counts, describe_origin(options.model, models, changed, source))
    if options.report:
      report_errors(options, config, source, ground_truth, results, scores)


def _check_options(options):
  for name, value, least in (("--report-images", options.report_images, 1),
                             ("--max-results", options.max_results, coco.LEAST_MAX_RESULTS)):
    if value < least:
      raise UsageError(f"{name} is {value}: it must be {least} or more")
  if not 0 <= options.report_min_score <= 1:
    raise UsageError(f"--report-min-score is {options.report_min_score}: it must be from 0 to 1")


def _find_results(models, source):
  """Returns `predict_all` of the source on all devices, by models that vote together."""
  mesh, config = parallel.make_mesh(), models[0].config
  with watch(config) as watchdog:
    return predict_all(
        make_predict([model.config for model in models], mesh),
        parallel.replicate([model.params for model in models], mesh), config, source,
        find_large=functools.partial(find_instances, models,
                                     beat=lambda done, tiles: watchdog.beat()),
        beat=watchdog.beat)


def _make_folder(folder):
  """Makes a folder; before the work, not after it, one that cannot be written is found out."""
  folder.mkdir(parents=True, exist_ok=True)
  if not is_remote(folder):
    tempfile.TemporaryFile(dir=folder).close()


def check_scorable(ground_truth: dict, source: Source) -> None:
  """Raises ValueError if the images have no instance, before anything is predicted."""
  if all(annotation["iscrowd"] for annotation in ground_truth["annotations"]):
    raise ValueError(f"{source.name}: no instance in {count_noun(len(source), 'image')}, so "
                     "nothing can be scored (crowd regions count only with "
                     "--data.crowd-as-instances)")


def report_tiles(source: Source, config: Config) -> None:
  """Prints how many images are run in tiles, if any."""
  tiled = np.count_nonzero(need_tiles(source.sizes, config))
  if tiled and parallel.is_first():
    print(f"{tiled} of {count_noun(len(source), 'image')} would be shrunk by more than "
          f"{config.inference.max_shrink:g} (inference.max_shrink): also run in tiles, as by mnc "
          "predict. --inference.max-shrink 0 scores them as a whole", flush=True)


def report_errors(options: Evaluate, config: Config, source: Source, ground_truth: dict,
                  results: list[dict], scores: dict) -> None:
  """Writes the page of the worst images, as the model gets them, and prints where it is."""
  assert options.report is not None
  head = {f"mAP^r at IoU {at}": scores[at]["mean_ap_11point"] for at in ("0.5", "0.7")}
  columns = {f"AP^r@{at}": scores[at]["ap_11point"] for at in ("0.5", "0.7")}
  page = write_report(options.report, ground_truth, results,
                      lambda row: adapt_image(source.read_image(row), config.data),
                      title=f"Errors on {pathlib.Path(source.name).name}", scores=head,
                      category_scores=columns, max_images=options.report_images,
                      min_score=options.report_min_score)
  print(f"The worst images: {page}")


def noting_changes(override: Callable[[Config], Config], changed: list[dict]
                   ) -> Callable[[Config], Config]:
  """Returns `override`; `changed` then has {path: value} of the fields that it changed."""
  def note(config):
    asked = override(config)
    changed.append({name: value for name, _, value in differing_fields(config, asked)})
    return asked
  return note
