"""Ground truth and results in COCO format, as mnc score reads them."""

import contextlib
import io
import json
import math

from helpers.records_by_hand import LEFT, RIGHT, TWO_CATS, make_box, make_ground_truth, make_result
from mnc_jax import cli
from mutations.damage import damage_json, spell_json
from mutations.outcomes import Family, require


def _records():
  ground_truth = make_ground_truth((*TWO_CATS, (2, 2, *RIGHT, 0), (2, 1, *LEFT, 1)))
  ground_truth["annotations"][0] |= {"bbox": [0, 0, 10, 10], "area": 100.0}
  ground_truth["annotations"][2]["segmentation"] = [[10, 0, 20, 0, 20, 10, 10, 10]]
  results = [make_result(1, 1, *LEFT, 0.9), make_result(1, 1, *RIGHT, 0.25),
             make_result(2, 2, *LEFT, 0.5)]
  for row, place in zip(results, (LEFT, RIGHT, LEFT)):
    row["bbox"] = make_box(*place)
  for row in ground_truth["images"]:
    row["file_name"] = f"folder/{row['id']}.jpg"
  for row in results:  # The second contradicts its id.
    row["file_name"] = f"/elsewhere/folder/{row['image_id'] if row is not results[1] else 2}.jpg"
  results[1]["segmentation"] = {"size": [20, 20], "counts": [200] + [10, 10] * 10}
  return ground_truth, results


def _lie(rng, ground_truth, results):
  """Sizes and runs that would make pycocotools read past its arrays, or fill the memory."""
  row, image = rng.choice(results + ground_truth["annotations"]), rng.choice(ground_truth["images"])
  huge = rng.choice((2**16, 2**24, 2**31, 2**32, 2**63, 10**30))
  way = rng.randrange(6)
  if way == 0:
    image |= {"height": huge, "width": huge}
  elif way == 1:
    image["height"] = huge
    row["segmentation"], row["image_id"] = {"size": [huge, 20], "counts": [20 * huge]}, image["id"]
  elif way == 2:
    row["segmentation"] = {"size": [20, 20], "counts": [0, 0, 5, 5, 390]}
  elif way == 3:
    row["segmentation"] = {"size": [20, 20], "counts": [100, 0, 0, 100, 0, 0, 200]}
  elif way == 4:
    row["segmentation"] = [[-1e6, 0, 1e6, 5] * 3000]
  else:
    row["bbox"] = [rng.choice((0, -huge, 1e308)), 0, rng.choice((huge, 1e308)), 1e308]


def write_results(rng, folder):
  """Writes both files and damages one of them."""
  ground_truth, results = _records()
  name = rng.choice(("gt.json", "res.json"))
  contents = {"gt.json": ground_truth, "res.json": results}
  if rng.randrange(4) == 0:
    _lie(rng, ground_truth, results)
    spelled = {}
  else:
    spelled = {name: spell_json(rng, damage_json(rng, contents[name]))}
  for file, content in contents.items():
    (folder / file).write_bytes(spelled.get(file, json.dumps(content).encode()))
  (folder / "protocol").write_text(rng.choice(("sds", "coco", "boundary")))
  return str(folder)


def read(folder):
  """Runs mnc score and returns the JSON that it writes."""
  with contextlib.redirect_stdout(io.StringIO()):
    cli.call("score", ["--protocol", (folder / "protocol").read_text(), "--json",
                str(folder / "out.json"), "--ground-truth", str(folder / "gt.json"),
                "--results", str(folder / "res.json")])
  return json.loads((folder / "out.json").read_text())


def check(found):
  """Scores are in 0 ... 1; NaN is not."""
  for path, value in _leaves(found):
    if not {"instances", "counts", "left_out", "max_results"}.isdisjoint(path):
      continue
    require(value is None or (isinstance(value, int | float) and not math.isnan(value)
                              and (0 <= value <= 1 or value == -1)), f"score {path} {value!r}")


def _leaves(value, path=()):
  if isinstance(value, dict):
    for key, item in value.items():
      yield from _leaves(item, (*path, key))
  elif isinstance(value, list):
    for place, item in enumerate(value):
      yield from _leaves(item, (*path, str(place)))
  else:
    yield path, value


RESULTS = Family(write_results, read, check)
