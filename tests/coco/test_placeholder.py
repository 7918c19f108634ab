"""Categories that no annotation has and that are none; Roboflow's is in `test_layouts.py`."""

import pytest

from mnc_jax.coco.placeholder import drop_placeholder


def _content(name, row_id, used=1):
  return {"categories": [{"id": row_id, "name": name, "supercategory": None},
                         {"id": 1, "name": "cat", "supercategory": None}],
          "annotations": [{"category_id": used}]}


@pytest.mark.parametrize(("name", "row_id"), [
    ("_background_", 0), ("__background__", 0), (" _Background_", 7)])
def test_a_background_that_no_annotation_has_is_dropped(name, row_id):
  content, sentence = drop_placeholder(_content(name, row_id), name="a.json")
  assert [row["name"] for row in content["categories"]] == ["cat"]
  assert sentence == (f"a.json: category {row_id}, {name!r}, was left out: a background that no "
                      "annotation has")


@pytest.mark.parametrize("content", [
    _content("_background_", 0, used=0), _content("background", 0), _content(None, 0),
    {"categories": [{"id": 0, "name": "_background_"}], "annotations": []}])
def test_other_categories_stay(content):
  assert drop_placeholder(content, name="a.json") == (content, "")
