"""Global arrays on a mesh: where rows go, and that they come back, on one host and on two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.two_processes import run_two
from mnc_jax import parallel

EVERY_INPUT = {"inputs": (parallel.REPLICATED, parallel.SHARDED)}


def test_replicated_arrays_have_no_device_axis_and_a_copy_on_each_device():
  tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(5)}
  placed = parallel.replicate(tree, parallel.make_mesh())
  jax.tree.map(np.testing.assert_array_equal, placed, tree)
  for leaf in jax.tree.leaves(placed):
    assert leaf.is_fully_replicated
    assert len({shard.device for shard in leaf.addressable_shards}) == 4


def test_donating_a_replicated_tree_leaves_the_original():
  mesh, tree = parallel.make_mesh(), {"a": jnp.arange(1000.0)}
  add = parallel.data_parallel(
      lambda tree, x: {"a": tree["a"] + x.sum()}, mesh, **EVERY_INPUT,
      outputs=parallel.REPLICATED, donate=0)
  placed = parallel.replicate(tree, mesh)
  add(placed, parallel.put_batch(np.zeros(4, np.float32), mesh))
  assert placed["a"].is_deleted()
  np.testing.assert_array_equal(tree["a"], np.arange(1000.0))


def test_each_device_has_its_rows_of_a_batch_and_they_come_back_in_order():
  x = np.arange(24).reshape(8, 3)
  placed = parallel.put_batch({"x": x, "y": x[:, 0]}, parallel.make_mesh())
  rows = [shard.data for shard in placed["x"].addressable_shards]
  np.testing.assert_array_equal(rows, x.reshape(4, 2, 3))
  jax.tree.map(np.testing.assert_array_equal, parallel.local_rows(placed), {"x": x, "y": x[:, 0]})


def test_rows_come_back_from_one_device():
  mesh = jax.sharding.Mesh(jax.devices()[:1], parallel.AXIS)
  x = np.arange(6).reshape(2, 3)
  np.testing.assert_array_equal(parallel.local_rows(parallel.put_batch(x, mesh)), x)


def test_a_batch_that_cannot_be_divided_is_rejected():
  with pytest.raises(ValueError, match="6 images cannot be divided over 4 devices.*batch_size"):
    parallel.put_batch(np.zeros((6, 2)), parallel.make_mesh())


def test_the_mean_over_devices_is_weighted_by_their_images():
  mesh = parallel.make_mesh()
  mean = parallel.data_parallel(
      lambda x, weight: parallel.weighted_mean(x[0], weight[0]), mesh,
      inputs=(parallel.SHARDED, parallel.SHARDED), outputs=parallel.REPLICATED)
  for weights, expected in (([2, 0, 1, 0], 20.0), ([0, 0, 0, 0], 0.0)):
    found = mean(*parallel.put_batch(
        (np.float32([10, 90, 40, 70]), np.int32(weights)), mesh))
    assert float(found) == expected


def test_a_mean_exchanged_in_bfloat16_is_rounded_but_not_by_one_device_alone():
  # 1 + 2^-8 lies between two numbers of 8 bits, and is rounded to the even one, 1.
  terms, weights = np.float32([1 + 2**-8, 3, 3, 3]), np.int32([2, 0, 0, 0])
  def mean(mesh, dtype):
    compiled = parallel.data_parallel(
        lambda x, weight: parallel.weighted_mean(x[0], weight[0], dtype=dtype), mesh,
        inputs=(parallel.SHARDED, parallel.SHARDED), outputs=parallel.REPLICATED)
    return compiled(*parallel.put_batch((terms[:mesh.size], weights[:mesh.size]), mesh))
  many, one = parallel.make_mesh(), jax.sharding.Mesh(jax.devices()[:1], parallel.AXIS)
  assert mean(many, "bfloat16").dtype == np.float32
  assert (float(mean(many, "bfloat16")), float(mean(many, "float32"))) == (1, 1 + 2**-8)
  assert float(mean(one, "bfloat16")) == 1 + 2**-8


# Each process has its own two rows, and the first process those that come first.
_ROWS = """
import numpy as np
from mnc_jax import parallel
mesh, process = parallel.make_mesh(), int(sys.argv[1])
local = np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])[process]
def weigh_rows(scale, x):
  return x * scale, jax.lax.psum((x * (jax.lax.axis_index("data") + 1)).sum(), "data")
weigh = parallel.data_parallel(
    weigh_rows, mesh, inputs=(parallel.REPLICATED, parallel.SHARDED),
    outputs=(parallel.SHARDED, parallel.REPLICATED))
rows, total = weigh(parallel.replicate(np.float32(10), mesh), parallel.put_batch(local, mesh))
print(mesh.size, rows.shape, parallel.local_rows(rows).tolist(), float(jax.device_get(total)))
"""


def test_two_processes_share_one_mesh():
  total = float(sum((row + 1) * (row + 1) for row in range(8)))
  assert run_two(_ROWS) == [f"8 (8,) [10.0, 20.0, 30.0, 40.0] {total}",
                            f"8 (8,) [50.0, 60.0, 70.0, 80.0] {total}"]


_OTHER_WEIGHTS = """
import numpy as np
from mnc_jax import parallel
try:
  parallel.replicate(np.float32([1, 2, int(sys.argv[1])]), parallel.make_mesh())
except ValueError as error:
  print(error)
"""


def test_weights_that_differ_between_processes_are_rejected():
  for message in run_two(_OTHER_WEIGHTS):
    assert message.startswith("process 1 has weights with checksum ")


# A host's rows must not pass for the whole batch.
_FORGOTTEN = """
import numpy as np
from mnc_jax import parallel
mesh = parallel.make_mesh()
total = parallel.data_parallel(lambda x: jax.lax.psum(x.sum(), "data"), mesh,
                               inputs=(parallel.SHARDED,), outputs=parallel.REPLICATED)
try:
  total(np.zeros(8, np.float32))
except ValueError as error:
  print("rejected")
"""


def test_rows_that_were_not_put_on_the_mesh_are_rejected():
  assert run_two(_FORGOTTEN) == ["rejected"] * 2
