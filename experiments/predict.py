"""Finds instances in photographs: predict.py --workdir DIR --output OUT IMAGE_OR_FOLDER ...

For each image OUT gets a PNG with masks, boxes, names and scores drawn, and one
OUT/instances.json holds all instances as COCO results with RLE masks.
"""

import argparse
import functools
import json
import pathlib
import sys

import cv2
import jax
from tqdm import tqdm

from command_line import end_with_message, load_model, override
from mnc_jax.data import list_images, make_image_batch, read_image
from mnc_jax.inference import predict
from mnc_jax.results import instances_to_results
from mnc_jax.visualize import draw_instances


def main(arguments) -> None:
  """Predicts, draws and writes, one image at a time."""
  options, overrides = read_options(arguments)
  model = load_model(options.workdir, options.weights)
  config = override(model.config, overrides, "predict.py ... IMAGE_OR_FOLDER ...")
  find = jax.jit(functools.partial(predict, config=config))
  names = dict(zip(model.category_ids, model.category_names, strict=True))
  paths = list_images(options.images)
  options.output.mkdir(parents=True, exist_ok=True)
  everything = []
  for number, path in enumerate(tqdm(paths, unit="image", desc="predicting")):
    image = read_image(path)
    images, sizes, info = make_image_batch(image, config.data, image_id=number)
    found = jax.device_get(find(model.params, images, sizes))
    records = instances_to_results(found, info, model.category_ids,
                                   mask_threshold=config.inference.mask_threshold)
    everything += [record | {"file_name": str(path)} for record in records]
    confident = [record for record in records if record["score"] >= options.min_score]
    drawing = draw_instances(image, confident, names)
    cv2.imwrite(str(options.output / f"{path.stem}.png"), drawing[..., ::-1])
  target = options.output / "instances.json"
  target.write_text(json.dumps(everything) + "\n")
  print(f"{len(everything)} instances in {len(paths)} images, written to {target}; the pictures "
        f"beside it show those of score >= {options.min_score:g}.")


def read_options(arguments):
  """Returns the options and what is left for config overrides."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  place = parser.add_mutually_exclusive_group(required=True)
  place.add_argument("--workdir", type=pathlib.Path, metavar="DIR", help="where train.py wrote")
  place.add_argument("--weights", type=pathlib.Path, metavar="FILE", help="a .safetensors model")
  parser.add_argument("--output", type=pathlib.Path, required=True, metavar="OUT")
  parser.add_argument("--min-score", type=float, default=0.5, metavar="S",
                      help="draw instances from this score on; instances.json has all")
  parser.add_argument("images", type=pathlib.Path, nargs="+", metavar="IMAGE_OR_FOLDER")
  return parser.parse_known_args(arguments)


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
