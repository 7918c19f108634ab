"""The reader side of the benchmark: files in, training batches out, and the memory it takes."""

import json
import math
import multiprocessing
import os
import pathlib
import tempfile
import time

import cv2
import numpy as np
from tqdm.auto import tqdm

from mnc_jax.config import DataConfig
from mnc_jax.data import load_source, training_batches

_DRAWN_IMAGES, _DRAWN_SIZE, _DRAWN_INSTANCES = 64, (384, 640), 7  # COCO has 7 an image.


def measure(options, torch_side):
  """Measures images a second after a warm-up, and the most memory in each half of that time."""
  del torch_side  # torchvision reads files too, but makes no such batches.
  with tempfile.TemporaryDirectory() as folder:
    annotations = options.annotations or draw_set(pathlib.Path(folder))
    images = options.images or pathlib.Path(folder)
    config = make_config(annotations, images, options)
    source = load_source(config, "train")
    batches = iter(training_batches(source, config, seed=0, batch_size=options.batch))
    take(batches, max(1, options.batches // 10))
    start = time.perf_counter()
    # What a moment needs depends on how many batches wait in it; a leak shows in the peaks.
    peaks = [max(take(batches, count)) for count in _halves(options.batches)]
    rate = options.batch * options.batches / (time.perf_counter() - start)
    batches.close()
  rows = [{"name": name, "mnc_jax": value, "torchvision": None} for name, value in (
      ("images a second", rate), ("peak memory, first half, GB", peaks[0]),
      ("peak memory, second half, GB", peaks[-1]))]
  mean = source.instance_counts.mean()
  return rows, [f"{len(source)} images, {mean:.1f} instances an image, {options.workers} workers. "
                "Memory is that of all processes, what they share counted once."]


def make_config(annotations, images, options) -> DataConfig:
  """Returns the reader's options, with flips, scale jitter, crops and colour jitter."""
  height, width = options.height, options.width
  return DataConfig(
      dataset="coco", train_annotations=str(annotations), train_images=str(images),
      short_side=min(height, width), long_side=max(height, width),
      buckets=((height, width), (width, height)), flip=True, scale_jitter=(0.8, 1.25),
      crop_share=0.8, color_jitter=0.2, num_workers=options.workers)


def _halves(count):
  return [count - count // 2, count // 2] if count > 1 else [count]


def take(batches, count: int) -> list[float]:
  """Asks for so many batches, lets go of each; returns `memory()` at up to 50 of them."""
  every, measured = math.ceil(count / 50), []
  for number in tqdm(range(1, count + 1), unit="batch", mininterval=5.0):
    next(batches)
    if number % every == 0:
      measured.append(memory())
  return measured


def memory() -> float:
  """Returns GB of this process and its children: pages shared by n count 1 / n in each."""
  processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
  return sum(_proportional_memory(process) for process in processes) * 1024 / 1e9


def _proportional_memory(process):
  """Returns KiB."""
  lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def draw_set(folder: pathlib.Path) -> pathlib.Path:
  """Draws JPEG files as long to decode as photographs, with a COCO annotation file beside."""
  rng, (height, width) = np.random.default_rng(0), _DRAWN_SIZE
  images, annotations = [], []
  for number in range(1, _DRAWN_IMAGES + 1):
    name = f"{number}.jpg"
    cv2.imwrite(str(folder / name), _draw_texture(rng, height, width))
    images.append({"id": number, "file_name": name, "height": height, "width": width})
    annotations += [
        {"id": len(annotations) + place, "image_id": number, "category_id": 1,
         "segmentation": [_draw_outline(rng, height, width)]}
        for place in range(1, _DRAWN_INSTANCES + 1)]
  path = folder / "instances.json"
  path.write_text(json.dumps({"images": images, "annotations": annotations,
                              "categories": [{"id": 1, "name": "blob"}]}))
  return path


def _draw_texture(rng, height, width):
  """Returns noise of many scales; its JPEG has 4 to 5 bits a pixel, as COCO's have."""
  image = np.zeros((height, width, 3), np.float32)
  for level in range(7):
    noise = rng.standard_normal((max(height >> level, 1), max(width >> level, 1), 3), np.float32)
    image += 7.0 * 1.5 ** level * cv2.resize(noise, (width, height))
  return np.clip(127 + image, 0, 255).astype(np.uint8)


def _draw_outline(rng, height, width):
  angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
  radii = rng.uniform(20, 100) * rng.uniform(0.8, 1.2, 40)
  x = np.clip(rng.uniform(0, width) + radii * np.cos(angles), 0, width)
  y = np.clip(rng.uniform(0, height) + radii * np.sin(angles), 0, height)
  return np.stack([x, y], axis=1).ravel().round(2).tolist()
