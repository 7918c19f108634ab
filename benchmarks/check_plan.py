"""Checks the compiler's plan of the training step on TPUs that need not be there: `make plan`.

Compiles VGG-16 with five stages at full size, 8 images of 600 x 1000 a chip in bfloat16, for a
v5e:2x2 slice; with --small a tiny model for v5e:2x2 and v5e:16x16, on a mesh, by `jax.pmap`, and
with the optimiser divided over the devices and gradients exchanged in bfloat16.
Prints the plan and a line per fault, and ends with status 1 if there is one. Needs `jax[tpu]`,
flax, optax and chex.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import functools
import sys
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks.__main__ import format_table, parse_arguments
from benchmarks.chips import CHIPS, find_devices
from benchmarks.hlo import Program
from benchmarks.model import make_config
from benchmarks.plan import lower_step, memory_bytes, one_image
from benchmarks.plan_rows import count_rows, memory_rows
from mnc_jax import parallel
from mnc_jax.config import Config, ModelConfig, ProposalConfig, TrainConfig
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import Batch
from mnc_jax.training.parallel_step import make_pmapped_train_step
from mnc_jax.training.sharded_optimizer import split_axis
from mnc_jax.training.step import init_state

# Seven are as long as the data says (NMS, blocks of instances, crowd regions), and four of two
# turns are over RoIs, of which 32 of 64 are warped at a time. A loop over single RoIs or images is
# a program that waits between small kernels.
MOST_LOOPS = 12
# Metrics are exchanged beside the gradients, and some gradients that are always 0 are not.
_MORE_BYTES, _LEAST_SHARE = 4096, 0.995
_SMALL = ("--batch", "1", "--height", "64", "--width", "64", "--categories", "3",
          "--dense-width", "8", "--mask-hidden", "8")


def main(arguments: Sequence[str]) -> int:
  """Compiles and checks; returns the exit status."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--small", action="store_true", help="a tiny model, in a minute")
  small = parser.parse_args(arguments).small
  jax.config.update("jax_platforms", "cpu")  # Takes no TPU that is there.
  # A fifth of the time of the full optimisation, with the same loops, collectives and pads, and
  # memory within a tenth.
  jax.config.update("jax_optimization_level", "O0")
  jax.config.update("jax_enable_compilation_cache", False)
  faults = _check_small() if small else _check_full()
  print("\n".join(faults) or "the plan is as it should be")
  return 1 if faults else 0


def _check_full():
  options = parse_arguments(["plan", "--roi-method", "matmul", "--roi-chunk", "32"])
  config = make_config(options)
  compiled = lower_step(
      "train", config, one_image(options, config), options.batch, find_devices("v5e")).compile()
  return check("full size, v5e:2x2", compiled, memory=CHIPS["v5e"].memory,
               exchanged=exchanged_bytes(config, 4))


def _check_small():
  options = parse_arguments(["plan", *_SMALL])
  config = Config(
      model=ModelConfig(
          num_categories=3, backbone="small", backbone_widths=(8, 8), box_stage_width=8,
          anchor_scales=(8.0,), anchor_ratios=(1.0,), roi_size=4, mask_size=4, mask_hidden=8,
          dense_width=8),
      train=TrainConfig(rois_per_image=8, anchors_per_image=16, proposals=ProposalConfig(
          pre_nms=64, num_proposals=8)))
  faults, example = [], one_image(options, config)
  for topology in ("v5e:2x2", "v5e:16x16"):
    devices = find_devices("v5e", topology=topology)
    lowered = {"mesh": lower_step("train", config, example, 1, devices),
               "pmap": lower_pmapped_step(config, example, devices)}
    for name, step in lowered.items():
      faults += check(f"small, {topology}, {name}", step.compile(), memory=1e9,
                      exchanged=exchanged_bytes(config, len(devices)))
    divided = dataclasses.replace(config, train=dataclasses.replace(
        config.train, shard_optimizer=True, gradient_exchange_dtype="bfloat16"))
    step = lower_step("train", divided, example, 1, devices)
    faults += check(f"small, {topology}, divided", step.compile(), memory=1e9,
                    exchanged=exchanged_bytes(divided, len(devices)))
  return faults


def lower_pmapped_step(config: Config, example: Batch, devices: Sequence[jax.Device]
                       ) -> jax.stages.Lowered:
  """Traces `make_pmapped_train_step`, with an image a device."""
  def on_devices(tree):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(devices), *x.shape), x.dtype), tree)

  state = jax.eval_shape(lambda: init_state(init_params(jax.random.key(0), config), config))
  # It maps over the devices of the process, of which there are none.
  with mock.patch.object(jax, "pmap", functools.partial(jax.pmap, devices=devices)):
    step = make_pmapped_train_step(config)
  return step.lower(on_devices(state), on_devices(example))


def exchanged_bytes(config: Config, devices: int) -> int:
  """Returns the bytes of weights and gradients that a device gives to the collectives of a step."""
  params = jax.eval_shape(functools.partial(init_params, config=config), jax.random.key(0))
  leaves = jax.tree.leaves(params)
  size = jnp.dtype(config.train.gradient_exchange_dtype).itemsize
  gathered = [leaf for leaf in leaves if config.train.shard_optimizer
              and split_axis(leaf.shape, devices) != parallel.WHOLE]
  return (size * sum(leaf.size for leaf in leaves)
          + sum(leaf.size * leaf.dtype.itemsize for leaf in gathered) // devices)


def check(name: str, compiled: jax.stages.Compiled, *, memory: float, exchanged: int) -> list[str]:
  """Prints the plan of a training step and returns a sentence per fault.

  Args:
    name: of the step, for the output.
    compiled: for TPUs.
    memory: bytes of a chip.
    exchanged: bytes, from `exchanged_bytes`.
  """
  program = Program(compiled.as_text())
  rows = [*memory_rows(memory_bytes(compiled)), *count_rows(program, program.executed())]
  print(format_table([(name, "plan"), *((row["name"], row["plan"]) for row in rows)]), flush=True)
  return [f"{name}: {fault}" for fault in find_faults(
      {row["name"]: row["plan"] for row in rows}, memory=memory, exchanged=exchanged)]


def find_faults(plan: dict[str, float], *, memory: float, exchanged: int) -> list[str]:
  """Returns a sentence for each figure of a plan that should be another.

  Args:
    plan: by the names of `memory_rows` and `count_rows`.
    memory: bytes of a chip.
    exchanged: bytes of weights and gradients, once.
  """
  found = 1e6 * plan["MB exchanged"]
  limits = {"GB a chip": memory / 1e9, "loops": MOST_LOOPS, "large pads with holes": 0,
            "collectives in loops": 0}
  faults = [f"{what}: {plan[what]:.4g}, should be at most {most:.4g}"
            for what, most in limits.items() if plan[what] > most]
  if not _LEAST_SHARE * exchanged <= found <= exchanged + _MORE_BYTES:
    faults.append(f"bytes exchanged: {found:.0f}, should be {exchanged}")
  return faults


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
