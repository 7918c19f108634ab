"""Scores any results file: mnc score --protocol sds --ground-truth GT.json --results RES.json.

Both files are in COCO format; masks are RLE (in the ground truth polygons too), boxes are
[x, y, width, height]. Prints the scores per category; --json writes all of them.
"""

import argparse
import json
import pathlib
import warnings

from pycocotools import mask as mask_api
from tqdm import tqdm

from mnc_jax.coco.rle import read_segmentation
from mnc_jax.data.readers.coco_file import read_json
from mnc_jax.evaluation.metrics.records import (
  check_ground_truth,
  check_kind,
  check_results,
  kinds_of,
)
from mnc_jax.evaluation.metrics.scoring import PROTOCOLS, score_results
from mnc_jax.evaluation.metrics.tables import format_table

_PROGRESS_FROM = 20_000  # Masks; fewer are checked in a few seconds.


def main(arguments) -> None:
  """Reads and checks both files, scores, prints, and writes the JSON if it is asked for."""
  options = read_options(arguments)
  ground_truth = read_json(options.ground_truth)
  check_ground_truth(ground_truth, place=str(options.ground_truth))
  results = read_json(options.results)
  check_results(results, ground_truth, place=str(options.results))
  check_what_is_scored(ground_truth, results, options)
  images = {image["id"]: image for image in ground_truth["images"]}
  read_masks(f"{options.ground_truth}: annotation", ground_truth["annotations"], images)
  read_masks(f"{options.results}: result", results, images)
  warn_of_empty(options.ground_truth, ground_truth["annotations"])
  scores = score_results(ground_truth, results, protocols=(options.protocol,))
  print(format_table(scores))
  if options.json:
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(scores, indent=2) + "\n")
    print(f"Written to {options.json}")


def read_options(arguments):
  """Returns protocol and paths."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument(
      "--protocol", choices=PROTOCOLS, required=True,
      help="sds: mAP^r and mAP^b at IoU .5 and .7. coco: the 12 numbers for masks and boxes. "
      "boundary: the 12 numbers of Boundary AP")
  parser.add_argument("--ground-truth", type=pathlib.Path, required=True, metavar="GT.json")
  parser.add_argument("--results", type=pathlib.Path, required=True, metavar="RES.json")
  parser.add_argument("--json", type=pathlib.Path, metavar="OUT.json")
  return parser.parse_args(arguments)


def check_what_is_scored(ground_truth, results, options) -> None:
  """Refuses files of which some records lack the mask or box that others have."""
  # Only masks have a boundary, and SDS is about masks first.
  needed = () if options.protocol == "coco" else ("segm",)
  for kind in dict.fromkeys([*needed, *kinds_of(results, place=str(options.results))]):
    check_kind(ground_truth, results, kind, gt_place=str(options.ground_truth),
               results_place=str(options.results))


def read_masks(where: str, records, images) -> None:
  """Checks the masks of records and turns them into RLE, in place; an error names the record."""
  for number, record in enumerate(tqdm(records, f"Checking {where}s",
                                       disable=len(records) < _PROGRESS_FROM)):
    if "segmentation" in record:
      image = images[record["image_id"]]
      try:
        record["segmentation"] = read_segmentation(
            record["segmentation"], image["height"], image["width"])
      except ValueError as error:
        raise ValueError(f"{where} {record.get('id', number)} of image {image['id']}: "
                         f"{error}") from None


def warn_of_empty(path: pathlib.Path, annotations) -> None:
  """Tells of instances that no mask can match; they count as missed."""
  ids = [record["id"] for record in annotations
         if "segmentation" in record and not mask_api.area(record["segmentation"])]
  if ids:
    shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    warnings.warn(f"{path}: {len(ids)} annotations have an empty mask, which counts as missed "
                  f"where masks are scored: ids {shown}", stacklevel=2)
