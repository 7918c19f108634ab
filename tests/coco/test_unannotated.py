"""Images that nobody has annotated yet."""

import pytest

from helpers.toy_sets import coco_content
from mnc_jax.coco.unannotated import describe_unannotated
from mnc_jax.data.readers.coco_file import check_coco


def _content(count, bare):
  """A COCO file of `count` images, of which the last `bare` have no annotation."""
  content = coco_content()
  image, annotation = content["images"][0], content["annotations"][0]
  content["images"] = [image | {"id": number, "file_name": f"{number}.png"}
                       for number in range(count)]
  content["annotations"] = [annotation | {"id": number, "image_id": number}
                            for number in range(count - bare)]
  return content


@pytest.mark.parametrize(("count", "bare", "reported"),
                         [(300, 250, True), (25, 5, True), (26, 5, False), (9, 4, False)])
def test_many_images_without_annotations_are_reported(count, bare, reported):
  faults = []
  found = check_coco(_content(count, bare), "x.json", faults.append)
  assert [len(rows) for rows in found.annotations] == [1] * (count - bare) + [0] * bare
  messages = [fault.message for fault in faults if "no annotation" in fault.message]
  expected = (f"x.json: {bare} of {count} images have no annotation, such as "
              f"'{count - bare}.png': they are learned as background. Remove those that "
              "were not annotated yet")
  assert messages == [expected] * reported
  assert {fault.item for fault in faults} <= {"set"}


def test_a_set_without_annotations_says_so_elsewhere():
  assert describe_unannotated([], [], name="x") == ""
