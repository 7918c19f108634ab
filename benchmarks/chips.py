"""Chips that programs can be compiled for without having one, and their figures."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import jax
from jax.experimental import topologies

from benchmarks.schedule import libtpu_options

# Device description for XLA's GPU compiler, as in its own tools/hlo_opt/gpu_specs/h100_sxm.txtpb;
# sizes are those of NVIDIA's H100 white paper and CUDA's table of compute capability 9.0.
_H100 = """
platform_name: "CUDA"  device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  device_memory_size: 84942979072  memory_bandwidth: 3352320000000  l2_cache_size: 52428800
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
}"""


class Chip(NamedTuple):
  """A kind of chip, and the figures that estimates of time follow from.

  Attributes:
    topology: the smallest that is usual; others are named likewise.
    memory: bytes.
    bandwidth: of its main memory, bytes a second.
    matrix_rate: operations a second of its matrix units, for bfloat16 operands.
    float32_rate: the same for float32 operands at JAX's default precision.
    clock: cycles a second that the compiler's estimates count, or None if it has none.
  """
  topology: str
  memory: float
  bandwidth: float
  matrix_rate: float
  float32_rate: float
  clock: float | None


# Memory, bandwidth and rate: https://cloud.google.com/tpu/docs/v5e, /v6e and /v5p, and NVIDIA's
# H100 data sheet (SXM, without sparsity; float32 as TF32). At its default precision a TPU rounds
# float32 operands to bfloat16 and multiplies once. Clocks: the rate over the products per cycle of
# the matrix units, 4 (v5e) and 8 (v5p) of 128 x 128; v6e, whose clock is not published, as v5p.
# With these, XLA's cycles for an 8192 x 8192 bfloat16 product are 1.14 (v5e), 1.42 (v6e) and 1.11
# (v5p) times the time at the full rate.
CHIPS = {
    "v5e": Chip("v5e:2x2", 16e9, 819e9, 197e12, 197e12, 1.5e9),
    "v6e": Chip("v6e:2x2", 32e9, 1638e9, 918e12, 918e12, 1.75e9),
    "v5p": Chip("v5p:2x2x1", 95e9, 2765e9, 459e12, 459e12, 1.75e9),
    "h100": Chip("1x1x1", 80e9, 3350e9, 989e12, 495e12, None),
}


def find_devices(chip: str, *, topology: str = "", schedules: pathlib.Path | None = None
                 ) -> Sequence[jax.Device]:
  """Returns devices to compile for; no array can be on them.

  Args:
    chip: a name in `CHIPS`. TPUs need libtpu (`pip install "jax[tpu]"`), the H100
      `"jax[cuda12]"`.
    topology: for example "v5e:16x16"; empty: that of `CHIPS`.
    schedules: folder that libtpu writes the schedules of kernels to. Only the first call of a
      process can choose it.
  """
  topology = topology or CHIPS[chip].topology
  if chip == "h100":
    return topologies.get_topology_desc(
        platform="cuda", target_config=_H100, topology=topology).devices
  # libtpu must neither ask a metadata server for the machine's TPUs nor lock them.
  os.environ.update(
      TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
  if schedules:
    os.environ["LIBTPU_INIT_ARGS"] = libtpu_options(schedules)
  return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
