"""mnc predict: finds instances in images, draws them, and writes them as COCO results."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import json
import pathlib
import warnings

import jax
import numpy as np
from tqdm.auto import tqdm

from mnc_jax.cli.commands import Predict
from mnc_jax.cli.models import load_models
from mnc_jax.cli.parse import UsageError
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import Config
from mnc_jax.data import BrokenImageError, list_images, read_image
from mnc_jax.data.images import encode_png, image_options
from mnc_jax.data.transforms import adapt_image, describe_range
from mnc_jax.evaluation.detect import find_instances
from mnc_jax.evaluation.own_ids import OwnIds, read_ids
from mnc_jax.evaluation.progress import compiling
from mnc_jax.evaluation.results import instances_to_records
from mnc_jax.evaluation.tiles.plan import describe_tiles
from mnc_jax.evaluation.visualize import draw_instances
from mnc_jax.model.trained import Model
from mnc_jax.training.checkpoint import describe_source
from mnc_jax.weights.self_check import compare_numbers, tolerance


def run(options: Predict, override: Callable[[Config], Config]) -> None:
  """Predicts, draws and writes, one image at a time; those left out are reported at the end."""
  output = check_options(options)
  models = load_models(options.model, override)
  model = models[0]
  if options.self_check:
    for one in models:
      self_check(one)
    return
  paths = list_images(options.images)
  pictures = [output / f"{path.stem}.png" for path in paths]
  check_pictures(pictures, paths)
  ids = choose_ids(options.ground_truth, paths, model)
  output.mkdir(parents=True, exist_ok=True)
  predict_images(models, paths, pictures, ids, output / "instances.json", options.min_score)


def predict_images(models: Sequence[Model], paths: Sequence[pathlib.Path],
                   pictures: Sequence[pathlib.Path], ids: OwnIds, target: pathlib.Path,
                   min_score: float) -> None:
  """Writes the results and the picture of each image before the next one is read.

  Raises:
    ValueError: after all others, naming the images that could not be used.
  """
  scores, broken, dark, tiled = [], [], [], 0
  bar = tqdm(list(zip(paths, pictures, ids.images, strict=True)), unit="image", desc="predicting")
  with open_results(target) as write:
    for number, (path, picture, image_id) in enumerate(bar):
      try:
        image = read_image(path, options=image_options(models[0].config.data))
        message = describe_tiles(image.shape[:2], str(path), models[0].config)
        if message and not tiled:
          bar.write(f"{message}.")
        tiled += bool(message)
        with compiling(bar, first=number == len(broken)):
          found = find_instances(
              models, image, name=str(path), min_score=min_score,
              beat=lambda done, tiles: bar.set_postfix_str(f"{done} of {tiles} tiles"))
      except BrokenImageError as error:
        broken.append(str(error) if str(path) in str(error) else f"{path}: {error}")
        continue
      except MemoryError:
        broken.append(f"{path}: it does not fit into memory with what is found in it")
        continue
      dark += filter(None, [describe_range(image, str(path), models[0].config.data)])
      records = instances_to_records(
          found, image.shape[:2], image_id=image_id, category_ids=ids.categories,
          mask_threshold=models[0].config.inference.mask_threshold)
      write([record | {"file_name": str(path)} for record in records])
      scores += [record["score"] for record in records]
      draw(picture, adapt_image(image, models[0].config.data), records, ids.categories, models[0],
           min_score)
  print(describe(scores, len(paths) - len(broken), target, min_score))
  if tiled > 1:
    print(f"{tiled} of the images were run in tiles.")
  if dark:
    warnings.warn(dark[0], stacklevel=2)
  if broken:
    raise ValueError(f"{len(broken)} of {len(paths)} images were left out:\n  "
                     + "\n  ".join(broken))


def check_options(options: Predict) -> pathlib.Path:
  """Returns --output; raises `UsageError` unless it and images are given, or --self-check alone."""
  if options.self_check and (options.output or options.images):
    raise UsageError("--self-check runs a stored image: give neither --output nor images")
  if not options.self_check and not (options.output and options.images):
    raise UsageError("give --output DIR, and images or folders of them")
  return options.output or pathlib.Path()


def self_check(model: Model) -> None:
  """Prints how far each stage deviates from the numbers stored with the weights.

  Raises:
    ValueError: if a stage deviates too far, naming the first; or if no numbers are stored.
  """
  stored = model.notes.get("self_check")
  if stored is None:
    raise ValueError("no numbers to compare are stored with these weights: mnc import-weights and "
                     "mnc export write them")
  deviations, limit = compare_numbers(model.params, model.config, stored), tolerance(model.config)
  for name, deviation in deviations.items():
    print(f"{name:24}{deviation:10.1e}  {'ok' if deviation <= limit else 'DIFFERENT'}")
  wrong = [name for name, deviation in deviations.items() if not deviation <= limit]
  device = jax.devices()[0].device_kind
  if wrong:
    raise ValueError(
        f"self-check failed on {device}: {wrong[0]} deviates by {deviations[wrong[0]]:.1e} of its "
        f"largest number (up to {limit:g} is rounding). The installation of jax is broken, or the "
        "weights or config were changed: do not trust its predictions")
  print(f"Self-check passed on {device}. The model: {describe_source(model.notes)}")


def check_pictures(pictures: list[pathlib.Path], paths: list[pathlib.Path]) -> None:
  """Raises if a drawing would overwrite an image that is to be read."""
  taken = {path.resolve() for path in paths}
  for picture in pictures:
    if picture.resolve() in taken:
      raise ValueError(f"{picture} would be overwritten by its own drawing: give another --output")


def choose_ids(ground_truth: pathlib.Path | None, paths: list[pathlib.Path], model: Model
               ) -> OwnIds:
  """Returns the ids of --ground-truth; else images are numbered, and categories are the model's."""
  if ground_truth:
    return read_ids(ground_truth, paths, model.category_names)
  return OwnIds(list(range(len(paths))), tuple(model.category_ids))


def draw(picture: pathlib.Path, image: np.ndarray, records: list[dict],
         category_ids: Sequence[int], model: Model, min_score: float) -> None:
  """Writes the image [h, w, 3] uint8 with its confident instances drawn."""
  names = dict(zip(category_ids, model.category_names, strict=True))
  confident = [record for record in records if record["score"] >= min_score]
  picture.write_bytes(encode_png(draw_instances(image, confident, names)))


@contextlib.contextmanager
def open_results(target: pathlib.Path) -> Iterator[Callable[[list[dict]], None]]:
  """Yields a function that adds COCO results to a JSON file at once, so that none are lost.

  Whatever ends the block, the file then is a complete list of what was added.
  """
  with target.open("w") as file:
    separator = "["
    def write(records):
      nonlocal separator
      for record in records:
        file.write(separator + json.dumps(record))
        separator = ",\n"
      file.flush()
    try:
      yield write
    finally:
      file.write("]\n" if separator != "[" else "[]\n")


def describe(scores: Sequence[float], images: int, target: pathlib.Path, min_score: float) -> str:
  """Returns how many instances were written, how many of them are drawn, and why none is."""
  drawn = sum(score >= min_score for score in scores)
  written = (f"{count_noun(len(scores), 'instance')} in {count_noun(images, 'image')}, written to "
             f"{target}. ")
  if drawn:
    return (f"{written}{drawn} of them {'is' if drawn == 1 else 'are'} drawn in the pictures "
            f"beside it: those of score {min_score:g} (--min-score) or more.")
  best = f": the best score is {max(scores):.3f}" if scores else ""
  return f"{written}None is drawn: none reaches --min-score {min_score:g}{best}."
