import itertools
import warnings

import numpy as np
import PIL.Image
from pycocotools import mask as coco_mask
import pytest

from helpers import tiny
from mnc_jax.coco.rle import encode_mask
from mnc_jax.evaluation import captions, visualize
from mnc_jax.model.trained import Model
from mnc_jax.structs import Detections

NAMES = {1: "cat", 2: "a category with a rather long name"}


def make_image(height=420, width=500, *, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def make_record(size, rows, columns, **fields):
  mask = np.zeros(size, np.uint8)
  mask[slice(*rows), slice(*columns)] = 1
  return {"category_id": 1, "score": 0.5, "segmentation": encode_mask(mask), **fields}


def test_drawing_stays_at_the_instance():
  image = make_image()
  record = make_record(image.shape[:2], (100, 200), (150, 300))
  drawn = visualize.draw_instances(image, [record], NAMES)
  assert drawn.shape == image.shape
  assert drawn.dtype == np.uint8
  # The label stands above the box, lines are a few pixels wide.
  near = np.zeros(image.shape[:2], bool)
  near[70:206, 144:306] = True
  np.testing.assert_array_equal(drawn[~near], image[~near])
  assert (drawn[110:190, 160:290] != image[110:190, 160:290]).any(-1).mean() > 0.99


def test_mask_is_blended_with_the_first_color():
  image = np.zeros((420, 500, 3), np.uint8)
  record = make_record(image.shape[:2], (100, 200), (150, 300))
  drawn = visualize.draw_instances(image, [record], NAMES)
  np.testing.assert_allclose(
      drawn[150, 225], 0.45 * np.array(visualize.instance_color(0)), atol=0.5)


def test_the_image_given_is_not_touched():
  image = make_image()
  before = image.copy()
  visualize.draw_instances(image, [make_record((420, 500), (0, 50), (0, 50))], NAMES)
  np.testing.assert_array_equal(image, before)


def test_without_records_the_image_comes_back():
  image = make_image()
  np.testing.assert_array_equal(visualize.draw_instances(image, [], NAMES), image)


def test_small_images_are_enlarged_by_a_whole_factor():
  drawn = visualize.draw_instances(
      make_image(60, 90), [make_record((60, 90), (10, 40), (10, 40))], NAMES)
  assert drawn.shape == (420, 630, 3)


def test_a_speck_in_a_small_image_is_still_drawn():
  image = np.zeros((60, 90, 3), np.uint8)
  drawn = visualize.draw_instances(image, [make_record((60, 90), (30, 31), (40, 41))], NAMES)
  assert drawn[30 * 7 + 3, 40 * 7 + 3].any()


def test_the_best_instance_lies_on_top():
  image = np.zeros((420, 500, 3), np.uint8)
  worse = make_record((420, 500), (100, 300), (100, 300), score=0.1)
  better = make_record((420, 500), (100, 300), (100, 300), score=0.9)
  pixels = [visualize.draw_instances(image, records, NAMES)[200, 200]
            for records in ([worse, better], [better, worse])]
  np.testing.assert_array_equal(*pixels)
  color = 0.45 * np.array(visualize.instance_color(0))
  below = 0.45 * np.array(visualize.instance_color(1))
  np.testing.assert_allclose(pixels[0], color + 0.55 * below, atol=1)


@pytest.mark.parametrize("rows, columns", [((0, 30), (470, 500)), ((390, 420), (0, 30)),
                                           ((0, 420), (0, 500)), ((200, 201), (499, 500))])
def test_labels_stay_inside_the_image(rows, columns):
  record = make_record((420, 500), rows, columns, category_id=2)
  size, _ = captions._text_size(visualize._label(record, NAMES), 0.42)
  box = visualize._corners(record, 1, (420, 500))
  x1, y1, x2, y2 = captions._place_label(box, size, (420, 500), [])
  assert 0 <= x1 < x2 <= 500
  assert 0 <= y1 < y2 <= 420
  visualize.draw_instances(make_image(), [record], NAMES)


@pytest.mark.parametrize("factor, width", [(1, 2), (1, 9), (4, 2)])
@pytest.mark.parametrize("rows, columns", [((30, 50), (40, 60)), ((0, 9), (0, 90)),
                                           ((50, 60), (85, 90)), ((20, 21), (30, 31))])
def test_drawing_a_part_equals_drawing_the_whole(rows, columns, factor, width):
  image = make_image(60, 90)
  whole, parts = visualize._enlarge(image, factor), visualize._enlarge(image, factor)
  rle = make_record((60, 90), rows, columns)["segmentation"]
  mask = visualize._enlarge_mask(coco_mask.decode(rle), factor)
  visualize._fill_mask(whole, mask, (200, 20, 90), width)
  visualize._draw_mask(parts, rle, factor, (200, 20, 90), width)
  np.testing.assert_array_equal(parts, whole)
  assert (whole != visualize._enlarge(image, factor)).any()


def test_an_empty_mask_leaves_the_image():
  image = make_image()
  record = make_record(image.shape[:2], (0, 0), (0, 0))
  drawn = visualize.draw_instances(image, [record], NAMES, labels=[""])
  np.testing.assert_array_equal(drawn[5:, 5:], image[5:, 5:])


def test_labels_of_overlapping_boxes_are_apart():
  taken = []
  for _ in range(4):
    taken.append(captions._place_label((200, 100, 300, 200), (60, 20), (420, 500), taken))
  for one, other in itertools.combinations(taken, 2):
    assert captions._overlap(one, other) == 0


def test_colors_of_neighbours_are_far_apart():
  colors = np.array([visualize.instance_color(index) for index in range(12)])
  assert len(np.unique(colors, axis=0)) == 12
  for one, other in itertools.pairwise(colors):
    assert np.abs(one - other).sum() > 150


def test_ground_truth_without_scores_and_boxes_beyond_the_image():
  record = make_record((420, 500), (0, 50), (450, 500), bbox=[450.0, -20.0, 100.0, 70.0])
  del record["score"]
  assert visualize._label(record, NAMES) == "cat"
  drawn = visualize.draw_instances(make_image(), [record], NAMES)
  assert drawn.shape == (420, 500, 3)


def test_colors_and_labels_go_with_their_records():
  image = np.zeros((420, 500, 3), np.uint8)
  records = [make_record((420, 500), (100, 200), columns, score=score)
             for columns, score in (((20, 120), 0.2), ((220, 320), 0.9))]
  plain = visualize.draw_instances(
      image, records, NAMES, colors=[(200, 0, 0), (0, 0, 200)], labels=["", ""])
  np.testing.assert_array_equal(plain[150, 70], [90, 0, 0])
  np.testing.assert_array_equal(plain[150, 270], [0, 0, 90])
  # Without text nothing stands above the boxes; a text stands at its own box.
  assert not plain[:95].any()
  labelled = visualize.draw_instances(image, records, NAMES, colors=[(200, 0, 0), (0, 0, 200)],
                                      labels=["1 here", ""])
  assert labelled[:95, :200].any()
  assert not labelled[:95, 200:].any()


@pytest.mark.parametrize(("count", "written"), [(6, True), (60, False)])
def test_names_of_many_instances_do_not_hide_them(count, written):
  image = np.zeros((420, 500, 3), np.uint8)
  records = [make_record((420, 500), (100, 110), (column, column + 10), score=0.9)
             for column in np.linspace(20, 480, count).astype(int)]
  drawn = visualize.draw_instances(image, records, NAMES)
  assert drawn[:95].any() == written  # Labels stand above the boxes.
  # Texts that the caller gives are always written.
  assert visualize.draw_instances(image, records, NAMES, labels=["here"] * count)[:95].any()


def test_grid_places_images_row_by_row():
  images = [np.full((10, 20, 3), value, np.uint8) for value in (50, 100, 150)]
  sheet = visualize.grid(images, 2, gap=4)
  assert sheet.shape == (2 * 14 + 4, 2 * 24 + 4, 3)
  assert sheet[4, 4, 0] == 50
  assert sheet[13, 47, 0] == 100
  assert sheet[18, 4, 0] == 150
  assert (sheet[18:28, 28:48] == visualize._BACKGROUND).all()


def test_grid_centres_smaller_images_and_bears_few():
  small, large = np.full((2, 2, 3), 255, np.uint8), np.zeros((6, 6, 3), np.uint8)
  sheet = visualize.grid([small, large], 5, gap=0)
  assert sheet.shape == (6, 12, 3)
  assert (sheet[2:4, 2:4] == 255).all()
  assert (sheet[:2, :6] == visualize._BACKGROUND).all()


def make_detections(size=(60, 90), *, scores=(0.9, 0.3)):
  """A cat and a dog, side by side."""
  masks = np.zeros((2, *size), bool)
  masks[0, 20:40, 10:30], masks[1, 25:50, 50:80] = True, True
  return Detections(np.float32([[10, 20, 30, 40], [50, 25, 80, 50]]), masks, np.float32(scores),
                    np.int32([1, 2]), ("cat", "dog"))


def test_detections_are_drawn_in_the_pixels_of_the_image():
  image, found = make_image(60, 90), make_detections()
  drawn = visualize.draw(image, found)
  assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
  color = 0.45 * np.array(visualize.instance_color(0))
  np.testing.assert_allclose(drawn[30:37, 15:25], color + 0.55 * image[30:37, 15:25], atol=1)
  # Below both boxes nothing is drawn; lines are one pixel wide in a small image.
  np.testing.assert_array_equal(drawn[52:], image[52:])
  assert visualize.draw(image, found, min_side=120).shape == (120, 180, 3)


def test_detections_are_drawn_as_their_records():
  image, found = make_image(60, 90), make_detections()
  records = [make_record((60, 90), (20, 40), (10, 30), score=0.9),
             make_record((60, 90), (25, 50), (50, 80), score=0.3, category_id=2)]
  np.testing.assert_array_equal(
      visualize.draw(image, found, min_side=400),
      visualize.draw_instances(image, records, {1: "cat", 2: "dog"}, min_side=400))
  np.testing.assert_array_equal(
      visualize.draw(image, found, min_score=0.5),
      visualize.draw_instances(image, records[:1], {1: "cat"}, min_side=1))
  nothing = Detections(*(column[:0] for column in found))
  np.testing.assert_array_equal(visualize.draw(image, nothing), image)


def test_a_file_is_drawn_upright(tmp_path):
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  image = make_image(90, 60)
  PIL.Image.fromarray(image).save(tmp_path / "image.png", exif=exif)
  np.testing.assert_array_equal(visualize.draw(tmp_path / "image.png", make_detections()),
                                visualize.draw(np.rot90(image, -1), make_detections()))


def test_a_file_is_read_as_the_config_of_the_model_says(tmp_path):
  exif = PIL.Image.Exif()
  exif[0x0112] = 6
  image, found = make_image(60, 90), make_detections()
  stored, pages = tmp_path / "stored.png", tmp_path / "pages.tif"
  PIL.Image.fromarray(image).save(stored, exif=exif)
  PIL.Image.fromarray(image[::-1]).save(
      pages, save_all=True, append_images=[PIL.Image.fromarray(image)])
  with pytest.raises(ValueError, match="if it is a path, give its model, too"):
    visualize.draw(stored, found)
  for path, data, pixels in (
      (stored, {"exif": "stored"}, image), (pages, {"page": 2}, image),
      (stored, {"exif": "stored", "channels": (2,)}, image[..., [1, 1, 1]])):
    model = Model({}, tiny.tiny_config(data=data), ("cat", "dog"), (1, 2), {})
    np.testing.assert_array_equal(visualize.draw(path, found, model=model),
                                  visualize.draw(pixels, found))


def test_an_image_of_another_size_or_kind():
  with pytest.raises(ValueError, match="the image is 90 x 60 .height x width., but `found` is of "
                                       "one of 60 x 90: draw on the image given to detect"):
    visualize.draw(make_image(90, 60), make_detections())
  with pytest.raises(ValueError, match="the image has float64 pixels"):
    visualize.draw(make_image(60, 90) / 255, make_detections())


def test_letters_that_opencv_4_does_not_draw_are_reported(monkeypatch):
  arguments = np.zeros((60, 90, 3), np.uint8), [(5, 5, 50, 50)], ["größer"], [(200, 30, 30)]
  monkeypatch.setattr(captions, "_DRAWS_ALL_LETTERS", False)
  with pytest.warns(UserWarning, match="OpenCV 4 draws [?] for letters .* are not ASCII: install"):
    captions.write_labels(*arguments)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    captions.write_labels(*arguments[:2], ["larger"], arguments[3])
    monkeypatch.setattr(captions, "_DRAWS_ALL_LETTERS", True)
    captions.write_labels(*arguments)
