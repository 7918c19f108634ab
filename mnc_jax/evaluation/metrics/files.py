"""Ground truth and results read from files in COCO format, and checked before they are scored."""

import pathlib
from typing import Literal
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

_PROGRESS_FROM = 20_000  # Masks; fewer are checked in a few seconds.


def read_files(ground_truth_path: pathlib.Path, results_path: pathlib.Path,
               protocol: Literal["sds", "coco", "boundary"]) -> tuple[dict, list]:
  """Returns the ground truth and the results that `scoring.score_results` takes, masks as RLE.

  Warns of annotations with an empty mask: they count as missed.

  Args:
    ground_truth_path: a JSON file with `images`, `annotations` and `categories`.
    results_path: a JSON file with a list of results.
    protocol: one of `scoring.PROTOCOLS`. All but "coco" need masks.

  Raises:
    ValueError: if a file cannot be read or scored, naming the file, the record and the field.
  """
  ground_truth, results = read_json(ground_truth_path), read_json(results_path)
  check_ground_truth(ground_truth, place=str(ground_truth_path))
  check_results(results, ground_truth, place=str(results_path))
  needed = () if protocol == "coco" else ("segm",)
  for kind in dict.fromkeys([*needed, *kinds_of(results, place=str(results_path))]):
    check_kind(ground_truth, results, kind, gt_place=str(ground_truth_path),
               results_place=str(results_path))
  images = {image["id"]: image for image in ground_truth["images"]}
  _read_masks(f"{ground_truth_path}: annotation", ground_truth["annotations"], images)
  _read_masks(f"{results_path}: result", results, images)
  _warn_of_empty(ground_truth_path, ground_truth["annotations"])
  return ground_truth, results


def _read_masks(where, records, images):
  """Turns the masks of records into RLE, in place."""
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


def _warn_of_empty(path, annotations):
  ids = [record["id"] for record in annotations
         if "segmentation" in record and not mask_api.area(record["segmentation"])]
  if ids:
    shown = ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
    warnings.warn(f"{path}: {len(ids)} annotations have an empty mask, which counts as missed "
                  f"where masks are scored: ids {shown}", stacklevel=3)
