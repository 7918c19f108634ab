"""Checkpoints whose files were damaged after they were written: never restored."""

import shutil

import jax
import pytest

from mnc_jax.training import checkpoint
from mnc_jax.training.checkpoint.checksums import check_checksums, compute_checksums
from training.test_checkpoint import (
  abstract_state,
  assert_bit_equal,
  make_state,
  save_one,
  small_config,
)

CONFIG = small_config()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  """A run with the checkpoints of steps 4 and 5; not to be changed."""
  workdir = tmp_path_factory.mktemp("sound")
  for step in (4, 5):
    save_one(workdir, CONFIG, step=step)
  return workdir


def truncate(path):
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0xff
  path.write_bytes(content)


def restore(workdir):
  with checkpoint.open_checkpoints(workdir) as manager:
    return checkpoint.restore(manager, abstract_state(CONFIG))


@pytest.mark.parametrize("damage", [truncate, flip, lambda path: path.unlink()],
                         ids=["truncated", "flipped", "missing"])
@pytest.mark.parametrize("part", ["params", "optimizer", "metadata"])
def test_damage_is_reported_and_the_checkpoint_before_it_restored(sound, tmp_path, part, damage):
  workdir = shutil.copytree(sound, tmp_path / "run")
  files = [path for path in (workdir / "checkpoints" / "5" / part).rglob("*")
           if path.is_file() and path.name != "commit_success.txt"]
  damage(max(files, key=lambda path: path.stat().st_size))
  with pytest.raises(ValueError, match=r"checkpoint 5 of .*run is damaged .* move \S+/5 away"):
    restore(workdir)
  if part == "params":
    with pytest.raises(ValueError, match=r"checkpoint 5 of .*run is damaged"):
      checkpoint.load_run(workdir)
  (workdir / "checkpoints" / "5").rename(tmp_path / "away")
  assert_bit_equal(restore(workdir), make_state(CONFIG, step=4))


def test_a_number_that_changed_is_named_by_its_array():
  tree = jax.device_get(make_state(CONFIG).params)
  saved = compute_checksums(tree)
  check_checksums(tree, saved)
  kernel = tree["mask_stage"]["mask"]["kernel"].copy()
  kernel.flat[7] += 1e-3
  tree["mask_stage"]["mask"]["kernel"] = kernel
  with pytest.raises(ValueError, match="mask_stage/mask/kernel is not what was saved"):
    check_checksums(tree, saved)
