"""Results matched to the ground-truth instance of largest mask IoU (the SDS protocol)."""

import collections
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask


class Matches(NamedTuple):
  """The N results of a category, best first.

  Attributes:
    overlaps: [N] mask IoU with the closest instance of the image; 0 without one.
    instances: [N] number of that instance, unique in the category; -1 without one.
    crowd_shares: [N] largest part of the result's area that lies in a crowd region.
  """
  overlaps: np.ndarray
  instances: np.ndarray
  crowd_shares: np.ndarray


def is_crowd(record) -> bool:
  """Says whether an annotation is a crowd region."""
  return bool(record.get("iscrowd", 0))


def check_records(annotations, results, names, images) -> None:
  """Refuses what cannot be scored.

  Args:
    annotations: of the ground truth.
    results: to be scored.
    names: {category id: name}.
    images: {image id: its record}.

  Raises:
    ValueError: naming what was found.
  """
  if len(set(names.values())) < len(names):
    raise ValueError(f"category names occur twice: {sorted(names.values())}")
  for kind, records in (("annotations", annotations), ("results", results)):
    for field, known in (("image_id", images), ("category_id", names)):
      unknown = sorted({record[field] for record in records} - set(known), key=str)
      if unknown:
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
        raise ValueError(f"{kind} name {len(unknown)} unknown {field}: {shown}")
  for record in results:
    if not np.isfinite(record["score"]):
      raise ValueError(f"a result of image {record['image_id']} has score {record['score']}")


def _group(records):
  """Returns {category: {image: [(place in records, record)]}}."""
  groups = collections.defaultdict(lambda: collections.defaultdict(list))
  for place, record in enumerate(records):
    groups[record["category_id"]][record["image_id"]].append((place, record))
  return groups


def to_rle(record, image):
  """Returns the record's segmentation, polygons or any RLE, as RLE of pycocotools."""
  height, width = image["height"], image["width"]
  segmentation = record["segmentation"]
  if isinstance(segmentation, list):
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
  if tuple(segmentation["size"]) != (height, width):
    raise ValueError(f"image {image['id']} is {height} x {width} (height x width), but a mask of "
                     f"category {record['category_id']} is {segmentation['size']}")
  if isinstance(segmentation["counts"], list):
    return coco_mask.frPyObjects(segmentation, height, width)
  return segmentation


def match_categories(annotations, results, images, categories) -> dict:
  """Matches all results; the IoU of a result and an instance is computed once.

  Args:
    annotations: of the ground truth; segmentations are RLE or polygons.
    results: with RLE.
    images: {image id: its record with `height` and `width`}.
    categories: ids to be matched.

  Returns:
    {category id: Matches}, of equal scores in the order of `results`.
  """
  annotations, results = _group(annotations), _group(results)
  matches = {}
  for category in categories:
    parts, places, scores, first = [], [], [], 0
    for image, found in results[category].items():
      truth = [record for _, record in annotations[category][image]]
      parts.append(_match_image(truth, [record for _, record in found], images[image], first))
      places += [place for place, _ in found]
      scores += [record["score"] for _, record in found]
      first += len(truth)
    order = np.lexsort((places, -np.asarray(scores, np.float64)))
    joined = map(np.concatenate, zip(*parts, strict=True)) if parts else (np.zeros(0),) * 3
    matches[category] = Matches(*(column[order] for column in joined))
  return matches


def _match_image(truth, found, image, first):
  """Returns `Matches` of one category in one image, whose instances are numbered from `first`."""
  if not truth:
    return Matches(np.zeros(len(found)), np.full(len(found), -1), np.zeros(len(found)))
  overlaps, crowd_shares = measure_overlaps(found, truth, image)
  return Matches(overlaps.max(1), first + overlaps.argmax(1), crowd_shares.max(1))


def measure_overlaps(found, truth, image):
  """Measures N results against G annotations of an image, whatever their categories.

  Returns:
    Two [N, G] arrays: mask IoU with each instance, 0 in the columns of crowd regions; and
    the part of the result's area that lies in each crowd region, 0 in the other columns.
  """
  if not found or not truth:
    return (np.zeros((len(found), len(truth))),) * 2
  crowd = np.array([is_crowd(record) for record in truth])
  # For crowd regions pycocotools divides by the area of the result instead of the union.
  overlaps = coco_mask.iou([to_rle(record, image) for record in found],
                           [to_rle(record, image) for record in truth], crowd.astype(np.uint8))
  return np.where(crowd, 0.0, overlaps), np.where(crowd, overlaps, 0.0)


def judge(found: Matches, threshold: float):
  """Returns three [N] bool: true positive, duplicate of one, ignored.

  A result of a taken instance is a duplicate. A result that reaches no instance but has at
  least `threshold` of its area in a crowd region is ignored. The rest is false.
  """
  reached = found.overlaps >= threshold
  places = np.flatnonzero(reached)
  # Results are sorted, and `unique` gives the first place of each instance.
  _, winners = np.unique(found.instances[places], return_index=True)
  true = np.zeros(len(reached), bool)
  true[places[winners]] = True
  return true, reached & ~true, ~reached & (found.crowd_shares >= threshold)
