"""The options of mnc predict, and what they make it run on: images, a video or a camera."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import glob
import itertools
import pathlib
from typing import NamedTuple

import numpy as np

from mnc_jax.cli.commands import Predict
from mnc_jax.cli.parse import UsageError
from mnc_jax.config import DataConfig
from mnc_jax.data import read_image
from mnc_jax.data.image_files import VIDEO_SUFFIXES
from mnc_jax.data.images import DEFAULT_OPTIONS, image_options
from mnc_jax.data.video import open_video
from mnc_jax.evaluation.own_ids import OwnIds, read_ids
from mnc_jax.model.trained import Model


class Input(NamedTuple):
  """One image to run.

  Attributes:
    image_id: in the results.
    name: of the files written for it, without suffix.
    file_name: in results and messages.
    path: of the file; None for a frame.
    read: returns its pixels, [h, w, 3] RGB.
  """
  image_id: int
  name: str
  file_name: str
  path: pathlib.Path | None
  read: Callable[[], np.ndarray]


class Inputs(NamedTuple):
  """All images of one call.

  Attributes:
    noun: what one of them is called.
    total: their number, None if it is not known.
    items: the images, in order; a generator for a video.
    frame_rate: frames per second of a video, else 0.
    is_live: whether they come from a camera.
    keep_files: whether the files are as viewers show them.
  """
  noun: str
  total: int | None
  items: Iterator[Input]
  frame_rate: float = 0.0
  is_live: bool = False
  keep_files: bool = True


def find_video(options: Predict) -> pathlib.Path | int | None:
  """Returns the camera or the video that is to be run, None for images.

  Raises:
    UsageError: if there is something else beside it, or there are options of the other kind.
  """
  videos = [path for path in options.images if path.suffix.lower() in VIDEO_SUFFIXES]
  if videos and (len(options.images) > 1 or glob.has_magic(str(videos[0]))
                 and not videos[0].exists()):
    raise UsageError(f"{videos[0]}: a video is run alone, by its name: give each its own command")
  if options.camera is not None and (options.images or options.camera < 0):
    raise UsageError("--camera takes a number from 0, and no images beside it")
  source = options.camera if options.camera is not None else next(iter(videos), None)
  if options.max_frames < 0 or (options.max_frames and source is None):
    raise UsageError("--max-frames is a number above 0, for a video or --camera")
  if options.ground_truth and source is not None:
    raise UsageError("--ground-truth is for images: the ids of frames are their numbers")
  return source


def check_options(options: Predict) -> pathlib.Path:
  """Returns --output; raises `UsageError` unless it and images are given, or --self-check alone.

  And for a --min-score outside 0 to 1.
  """
  if not 0 <= options.min_score <= 1:
    raise UsageError(f"--min-score is {options.min_score}: it must be from 0 to 1")
  given = options.images or options.camera is not None
  if options.self_check and (options.output or given):
    raise UsageError("--self-check runs a stored image: give neither --output nor images")
  if not options.self_check and not (options.output and given):
    raise UsageError("give --output DIR, and images or folders of them, a video, or --camera")
  return options.output or pathlib.Path()


def choose_formats(options: Predict, source: pathlib.Path | int | None) -> tuple[str, ...]:
  """Returns the formats of --write; raises `UsageError` for those that do not fit the input."""
  formats = options.write
  if formats is None:
    formats = ("pictures", "coco") if source is None else ("video", "coco")
  if not formats:
    raise UsageError("--write needs one or more of pictures, coco, labels, csv, labelme, video")
  if "video" in formats and source is None:
    raise UsageError("--write video needs a video or --camera; pictures draws on images")
  if options.ground_truth and not {"coco", "csv"} & set(formats):
    raise UsageError("--ground-truth gives the ids in instances.json and .csv: --write coco or csv")
  return formats


def choose_ids(ground_truth: pathlib.Path | None, paths: list[pathlib.Path], model: Model
               ) -> OwnIds:
  """Returns the ids of --ground-truth; else images are numbered, and categories are the model's."""
  if ground_truth:
    return read_ids(ground_truth, paths, model.category_names)
  return OwnIds(list(range(len(paths))), tuple(model.category_ids))


def list_inputs(paths: Sequence[pathlib.Path], ids: Sequence[int], config: DataConfig) -> Inputs:
  """Returns image files as inputs; each is read when it is its turn.

  Args:
    paths: of the images.
    ids: of the images.
    config: which pixels of a file are read.
  """
  options = image_options(config)
  read = functools.partial(read_image, options=options)
  items = (Input(image_id, path.stem, str(path), path, functools.partial(read, path))
           for path, image_id in zip(paths, ids, strict=True))
  return Inputs("image", len(paths), items, keep_files=options == DEFAULT_OPTIONS)


@contextlib.contextmanager
def open_frames(source: pathlib.Path | int, *, max_frames: int) -> Iterator[Inputs]:
  """Opens a video or a camera; frame n has the id n, and a file name of its own.

  Args:
    source: path or number of the camera.
    max_frames: 0 for all.
  """
  with open_video(source) as video:
    limits = [limit for limit in (max_frames, video.num_frames) if limit]
    items = (_make_frame(frame_name(source, number), number, frame) for number, frame in
             enumerate(itertools.islice(video.frames, max_frames or None)))
    yield Inputs("frame", min(limits, default=None), items, video.frame_rate,
                 is_live=isinstance(source, int))


def _make_frame(name, number, frame):
  return Input(number, name, f"{name}.png", None, lambda: frame)


def video_name(source: pathlib.Path | int) -> str:
  """Returns the name of the files of a video, without suffix."""
  return f"camera_{source}" if isinstance(source, int) else source.stem


def frame_name(source: pathlib.Path | int, number: int) -> str:
  """Returns the name of the files of a frame, counted from 0, without suffix."""
  return f"{video_name(source)}_{number:06}"
