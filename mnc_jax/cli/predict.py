"""mnc predict: finds instances in images or in the frames of a video, and writes them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
import contextlib
import pathlib
import time
from typing import NamedTuple

from tqdm.auto import tqdm

from mnc_jax.cli.commands import Predict
from mnc_jax.cli.models import load_models
from mnc_jax.cli.predict_inputs import (
  Input,
  Inputs,
  check_options,
  choose_formats,
  choose_ids,
  find_video,
  list_inputs,
  open_frames,
  video_name,
)
from mnc_jax.cli.predict_report import Done, report
from mnc_jax.cli.self_check import self_check
from mnc_jax.config import Config
from mnc_jax.data import BrokenImageError, list_images
from mnc_jax.data.contrast import adapt_image, describe_range
from mnc_jax.evaluation.predict_image import find_instances
from mnc_jax.evaluation.progress import compiling
from mnc_jax.evaluation.results import instances_to_records
from mnc_jax.evaluation.tiles.plan import describe_tiles
from mnc_jax.evaluation.writers.formats import check_files, find_frames, open_writers
from mnc_jax.evaluation.writers.found import FormatError, Found, Target, Writer
from mnc_jax.model.trained import Model


class Job(NamedTuple):
  """What is done with each image.

  Attributes:
    models: that vote together.
    category_ids: of label i + 1 is item i.
    formats: that are written.
    folder: of the output.
    min_score: of confident instances.
  """
  models: Sequence[Model]
  category_ids: tuple[int, ...]
  formats: tuple[str, ...]
  folder: pathlib.Path
  min_score: float


def run(options: Predict, override: Callable[[Config], Config]) -> None:
  """Predicts, and writes one image at a time; those left out are reported at the end."""
  source = find_video(options)
  output, formats = check_options(options), choose_formats(options, source)
  models = load_models(options.model, override)
  if options.self_check:
    for one in models:
      self_check(one)
    return
  job = Job(models, tuple(models[0].category_ids), formats, output, options.min_score)
  if source is None:
    paths = list_images(options.images)
    check_files(formats, output, [path.stem for path in paths],
                [*paths, *filter(None, [options.ground_truth])])
    ids = choose_ids(options.ground_truth, paths, models[0])
    predict_images(job._replace(category_ids=ids.categories),
                   list_inputs(paths, ids.images, models[0].config.data))
    return
  name = video_name(source)
  check_files(formats, output, [name, *find_frames(formats, output, name)],
              [source] if isinstance(source, pathlib.Path) else [])
  with open_frames(source, max_frames=options.max_frames) as inputs:
    predict_images(job, inputs, video=name)


def predict_images(job: Job, inputs: Inputs, *, video: str = "") -> None:
  """Writes the results of each image before the next one is read.

  Args:
    job: what is done.
    inputs: the images.
    video: name of the video that is written, if they are frames.

  Raises:
    ValueError: after all others, naming the images that could not be used.
  """
  counts, done = Counter(), Done([], [], [], [], [], [], [])
  job.folder.mkdir(parents=True, exist_ok=True)
  names = dict(zip(job.category_ids, job.models[0].category_names, strict=True))
  target = Target(job.folder, names, lambda text, number: counts.update({text: number}),
                  inputs.keep_files, inputs.frame_rate, inputs.is_live)
  bar = tqdm(total=inputs.total, unit=inputs.noun, desc="predicting")
  with bar, open_writers(job.formats, target, video_name=video) as writers, until_interrupted(
      inputs, done):
    for item in read_all(inputs, done):
      found = None
      with noting_why(done, item):
        found = find_in_image(job, item, bar, done)
      if found:
        for write in writers:
          write_one(done, write, found)
        done.scores.extend(record["score"] for record in found.records)
        done.times.append(time.monotonic())
      bar.update()
  report(done, counts, inputs, job.formats, job.folder, job.min_score)


def find_in_image(job: Job, item: Input, bar: tqdm, done: Done) -> Found:
  """Returns what is in an image; `done` has what is odd about it."""
  config, pixels = job.models[0].config, item.read()
  message = describe_tiles(pixels.shape[:2], item.file_name, config)
  if message:
    if not done.tiled:
      bar.write(f"{message}.")
    done.tiled.append(item.file_name)
  with compiling(bar, first=not done.times):
    found = find_instances(
        job.models, pixels, name=item.file_name, min_score=job.min_score,
        warn=done.limited.append,
        beat=lambda ready, tiles: bar.set_postfix_str(f"{ready} of {tiles} tiles"))
  done.dark.extend(filter(None, [describe_range(pixels, item.file_name, config.data)]))
  records = instances_to_records(
      found, pixels.shape[:2], image_id=item.image_id, category_ids=job.category_ids,
      mask_threshold=config.inference.mask_threshold)
  confident = sorted((record for record in records if record["score"] >= job.min_score),
                     key=lambda record: -record["score"])
  return Found(item.name, item.file_name, item.path, adapt_image(pixels, config.data), records,
               confident)


@contextlib.contextmanager
def noting_why(done: Done, item: Input) -> Iterator[None]:
  """Continues after an image that cannot be used; `done` then has the reason."""
  try:
    yield
  except MemoryError:
    done.broken.append(f"{item.file_name}: it does not fit into memory with what is found in it")
  except BrokenImageError as error:
    named = item.file_name in str(error)
    done.broken.append(str(error) if named else f"{item.file_name}: {error}")


def write_one(done: Done, write: Writer, found: Found) -> None:
  """Writes an image; `done` then has a message if its format or the memory cannot hold it."""
  try:
    write(found)
  except MemoryError:
    done.unwritten.append(f"{found.file_name}: not enough memory to write it")
  except FormatError as error:
    done.unwritten.append(f"{found.file_name}: {error}")


def read_all(inputs: Inputs, done: Done) -> Iterator[Input]:
  """Yields the images; `done` has a message if a video ends too early."""
  try:
    yield from inputs.items
  except BrokenImageError as error:
    done.broken.append(str(error))


@contextlib.contextmanager
def until_interrupted(inputs: Inputs, done: Done) -> Iterator[None]:
  """Takes Ctrl-C as the end of what a camera films, once there is a frame."""
  try:
    yield
  except KeyboardInterrupt:
    if not (inputs.is_live and done.times):
      raise
