"""Validation while training: losses, mAP^r, a panel of predictions, and the best checkpoint."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import json
import pathlib
from typing import Any, NamedTuple
import warnings
import zlib

import jax
from jax.sharding import Mesh
import numpy as np
from tqdm.auto import tqdm

from mnc_jax import parallel
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.config.paths import write_errors
from mnc_jax.config.serialization import differing_fields
from mnc_jax.data import Source, load_source, make_ground_truth, restrict
from mnc_jax.evaluation.metrics.scoring import score_results
from mnc_jax.evaluation.predict_split import (
  check_categories,
  make_predict,
  predict_all,
  warn_of_limit,
)
from mnc_jax.training import checkpoint
from mnc_jax.training.metrics_log import MetricsLog
from mnc_jax.training.panel import draw_panel
from mnc_jax.training.parallel_step import make_eval_step
from mnc_jax.training.saving import Saver
from mnc_jax.training.step import TrainState

# Fields of `inference` that scores do not depend on, and of `data` that they do.
_WITHOUT_EFFECT = ("inference.max_shrink", "inference.tile_overlap")
_READING = ("data.short_side", "data.long_side", "data.stretch_contrast", "data.channels",
            "data.page", "data.exif", "data.crowd_as_instances")


class Validation(NamedTuple):
  """What is opened and compiled once, and used at every validation.

  Attributes:
    source: the evaluation split, or `train.evaluate_images` evenly spaced images of it.
    ground_truth: of it, in COCO format.
    config: of the run.
    mesh: of the run.
    find: from `make_predict`.
    losses: from `make_eval_step`.
    best: the checkpoints in `workdir/best`, of which one is kept.
    saver: of these.
    done: the file that holds the last validated step, and how many validations in a row up to it
      found no better state.
    conditions: from `checksum_conditions`.
  """
  source: Source
  ground_truth: dict
  config: Config
  mesh: Mesh
  find: Callable
  losses: Callable
  best: Any
  saver: Saver
  done: pathlib.Path
  conditions: int

  def is_missed(self, step: int) -> bool:
    """Returns whether the validation that is due at this step was interrupted."""
    # The first process wrote the file; another may not see it yet.
    return parallel.gather(self._read_done()[:1] != [str(step)])[0]

  def count_since_best(self, step: int) -> int:
    """Returns how many validations in a row up to `step` found no better state than the saved one.

    0 if the last one was of a later step, which the run has lost: how many were before is unknown.
    """
    last, count, *_ = *map(int, self._read_done()), 0, 0  # The count is absent up to 0.2.0.
    return parallel.gather(count if last <= step else 0)[0]

  def _read_done(self):
    return self.done.read_text().split() if self.done.is_file() else []

  def best_step(self) -> int | None:
    """Returns the step of the best state, None if none is saved that can be compared."""
    return parallel.gather(self.best.latest_step() if self.is_comparable() else None)[0]

  def best_score(self) -> float:
    """Returns the mAP^r at IoU .5 of the best state, -1 if none is saved that can be compared."""
    # Each host reads equally often, whatever it finds.
    scores, comparable = checkpoint.saved_scores(self.best), self.is_comparable()
    return scores.get("mean_ap_r_50", -1.0) if comparable else -1.0

  def is_comparable(self) -> bool:
    """Returns whether the best state, if any, was scored under the conditions of this run."""
    saved = checkpoint.saved_scores(self.best)
    return saved.get("conditions", self.conditions) == self.conditions  # Absent up to 0.2.0.


@contextlib.contextmanager
def open_validation(config: Config, workdir: pathlib.Path, mesh: Mesh,
                    category_names: Sequence[str], notes: dict) -> Iterator[Validation | None]:
  """Yields a `Validation`, or None if `config.train.evaluate_every` is 0."""
  if not config.train.evaluate_every:
    yield None
    return
  source = load_source(config.data, "eval")
  check_categories(category_names, source)
  if config.train.evaluate_images:
    source = space_evenly(source, config.train.evaluate_images)
  ground_truth = make_ground_truth(source)
  if all(annotation["iscrowd"] for annotation in ground_truth["annotations"]):
    raise ValueError(f"{source.name}: no instance in {count_noun(len(source), 'image')} for "
                     "validation, so nothing could be scored: add images with instances, raise "
                     "train.evaluate_images, or set train.evaluate_every 0")
  warn_of_limit(source, config)
  with checkpoint.open_checkpoints(workdir / "best", keep=1) as best:
    checkpoint.remove_unfinished(best)
    save = functools.partial(
        checkpoint.save, best, config=config, categories=source, notes=notes)
    validation = Validation(
        source, ground_truth, config, mesh, make_predict([config], mesh),
        make_eval_step(config, mesh), best, Saver(best, save, saved=None, retries=False),
        workdir / "best" / "validated", checksum_conditions(ground_truth, config))
    warn_of_replacement(validation)
    yield validation


def warn_of_replacement(validation: Validation) -> None:
  """Warns if the best state will be replaced without a comparison."""
  if validation.is_comparable():
    return
  warnings.warn(
      f"the best state, in {validation.best.directory}, was scored on other images or annotations, "
      f"or with other fields of inference or of reading ({', '.join(_READING)}). It is not "
      "compared with this run's states, and the next validation replaces it: to keep it, end the "
      "run now and move the folder", stacklevel=2)


def space_evenly(source: Source, count: int) -> Source:
  """Returns `count` images of a source, evenly spaced from the first on; all if it has fewer."""
  count = min(count, len(source))
  rows = np.arange(count) * len(source) // max(count, 1)
  return restrict(source, source.image_ids[rows].tolist())


def validate(validation: Validation, state: TrainState, log: MetricsLog, *,
             beat: Callable[[], None] = lambda: None) -> None:
  """Logs losses, scores and a panel; saves the state if its mAP^r is the best so far.

  Args:
    validation: from `open_validation`.
    state: on the devices of the run.
    log: of the run.
    beat: called after each batch, for a `Watchdog`.
  """
  step, losses = int(state.step), []
  # The losses stay on the devices until all batches are predicted: the host waits for none.
  results, counts = predict_all(
      validation.find, [state.evaluated], validation.config, validation.source, beat=beat,
      each_batch=lambda batch: losses.append(
          validation.losses(state.evaluated, parallel.put_batch(batch, validation.mesh))))
  # Each process computes the same scores; the first one logs them.
  scores = (summarise(validation.ground_truth, results)
            | mean_over_images(jax.device_get(losses)))
  log.add_scalars({f"validation/{name}": value for name, value in (scores | counts).items()}, step)
  panel = draw_panel(validation.source, results, validation.config.data)
  log.add_image("validation/predictions", panel, step)
  log.flush()
  reached = validation.best_score()
  tqdm.write(f"Step {step}: mAP^r at IoU .5 {scores['mean_ap_r_50']:.3f}, at .7 "
             f"{scores['mean_ap_r_70']:.3f}, loss {scores['loss']:.3f} on "
             f"{count_noun(len(validation.source), 'image')}; best at .5 so far: "
             f"{max(reached, scores['mean_ap_r_50']):.3f}")
  # It is the best itself if the program ended between that save and the end of its validation.
  since_best = 0 if validation.best_step() == step else validation.count_since_best(step) + 1
  if scores["mean_ap_r_50"] > reached:
    since_best = 0
    validation.saver.save(state, scores=scores | {"conditions": validation.conditions})
    # The next comparison reads its scores.
    validation.saver.finish()
  if parallel.is_first() and not validation.saver.error:
    # If this cannot be written, the validation is repeated when the run resumes.
    with contextlib.suppress(*write_errors(validation.done)):
      validation.done.write_text(f"{step} {since_best}")


def checksum_conditions(ground_truth: dict, config: Config) -> int:
  """Returns a number of what scores depend on besides the weights.

  It is another one for other images, annotations or fields of reading and inference. Fields at
  their default do not count, so that new ones change nothing.
  """
  changed = [f"{name} {value}" for name, _, value in differing_fields(Config(), config)
             if name.startswith("inference.") and name not in _WITHOUT_EFFECT or name in _READING]
  return zlib.crc32("\n".join(changed).encode(), zlib.crc32(json.dumps(ground_truth).encode()))


def summarise(ground_truth: dict, results: list) -> dict[str, float]:
  """Returns mAP^r at .5 and .7."""
  scores = score_results(ground_truth, results, protocols=("sds",))
  return {"mean_ap_r_50": scores["0.5"]["mean_ap_11point"],
          "mean_ap_r_70": scores["0.7"]["mean_ap_11point"]}


def mean_over_images(metrics: Sequence[dict]) -> dict[str, float]:
  """Returns the mean of each metric of batches over all their `images`, of which each has some."""
  images = sum(float(one["images"]) for one in metrics)
  return {name: sum(float(one[name]) * float(one["images"]) for one in metrics) / images
          for name in metrics[0] if name != "images"}
