"""Readers of the user: a format by its name in the config."""

import numpy as np
import pytest

import mnc_jax
from mnc_jax.coco.rle import encode_mask
from mnc_jax.config import DataConfig, extensions
from mnc_jax.data import load_categories, load_source, prepare
from mnc_jax.data.images import encode_png
from mnc_jax.data.listing import Content, Entry, Listing
from mnc_jax.data.records import make_annotation

pytestmark = pytest.mark.usefixtures("own_registry")


def list_squares(folder, report, *, options):
  """One file per image, which names the side of a square."""
  del options
  def read(path, index, report):
    mask = np.zeros((16, 24), bool)
    side = int(path.read_text())
    mask[:side, :side] = True
    return Content(encode_png(np.uint8(mask)[..., None].repeat(3, 2) * 200), (16, 24), [
        make_annotation(index + 1, index, 7, encode_mask(mask), crowd=False)])
  files = sorted(folder.glob("*.side"))
  entries = [Entry(index, path.name, lambda report, path=path, index=index: read(
      path, index, report)) for index, path in enumerate(files)]
  return Listing([{"id": 7, "name": "square"}], {"train": entries[:2], "validation": entries[2:]})


@pytest.fixture
def folder(tmp_path):
  for index, side in enumerate((3, 5, 8)):
    (tmp_path / f"{index}.side").write_text(str(side))
  return tmp_path


def test_a_set_of_a_registered_reader_is_prepared_and_read_without_it(folder):
  mnc_jax.register_reader("squares", list_squares)
  prepare("squares", folder, folder / "data")
  extensions._ADDED["data.dataset"].clear()  # Another program.
  config = DataConfig(dataset="squares", data_dir=str(folder / "data"))
  train, held_out = (load_source(config, split) for split in ("train", "eval"))
  assert [source.read_annotations(0)[0]["area"] for source in (train, held_out)] == [9, 64]
  assert load_categories(config) == (("square",), (7,))


def test_a_set_that_is_neither_prepared_nor_readable_is_named(folder):
  message = (r"data\.dataset is 'squares', which is not known here.*: known are shapes, coco, .*"
             r"mnc_jax\.register_reader\('squares', \.\.\.\)")
  with pytest.raises(ValueError, match=message):
    prepare("squares", folder, folder / "data")
  with pytest.raises(ValueError, match=message):
    load_source(DataConfig(dataset="squares", data_dir=str(folder / "data")), "train")
  mnc_jax.register_reader("squares", list_squares)
  with pytest.raises(ValueError, match="'squares' is not prepared in .*mnc prepare --dataset squ"):
    load_source(DataConfig(dataset="squares", data_dir=str(folder / "data")), "train")


def test_a_set_cannot_be_outside_of_the_folder_of_sets(folder):
  with pytest.raises(ValueError, match=r"data\.dataset is '\.\./squares': a name has"):
    load_source(DataConfig(dataset="../squares", data_dir=str(folder)), "train")
  with pytest.raises(ValueError, match="'coco' is part of mnc_jax"):
    mnc_jax.register_reader("coco", list_squares)
