"""The compiler's plan of a step on a chip that need not be there: memory, kernels, times.

Memory, instructions, shapes and collectives are those that would run; times are estimates. For
each instruction `roofline` is the larger of main-memory traffic at full bandwidth and products at
the full matrix rate; `low` is the smaller of XLA's estimate and the kernel's own schedule, but at
least `roofline`; `high` is the largest of all. Collectives count as no time.
"""

import argparse
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import tempfile

import jax
from jax.sharding import AxisType, Mesh
import numpy as np

from benchmarks import flops as benchmark_flops
from benchmarks import plan_rows
from benchmarks.chips import CHIPS, find_devices
from benchmarks.hlo import Program
from benchmarks.hlo_cost import cost_of
from benchmarks.hlo_parts import Sources
from benchmarks.model import make_batch, make_config
from benchmarks.schedule import complete_cycles, read_cycles
from mnc_jax import parallel
from mnc_jax.config import Config
from mnc_jax.model.inference import predict
from mnc_jax.model.parameters import init_params
from mnc_jax.structs import Batch
from mnc_jax.training.parallel_step import make_train_step
from mnc_jax.training.step import init_state

COLUMNS = plan_rows.COLUMNS


def measure(options, torch_side):
  """Compiles the step and returns `(rows, notes)`.

  Args:
    options: of the command line.
    torch_side: None; torchvision has nothing of the kind.
  """
  del torch_side
  config = make_config(options)
  config = dataclasses.replace(
      config, model=dataclasses.replace(config.model, backbone=options.backbone))
  # Programs from the cache come without schedules.
  jax.config.update("jax_enable_compilation_cache", False)
  with tempfile.TemporaryDirectory() as folder:
    schedules = pathlib.Path(folder)
    devices = find_devices(options.target, topology=options.topology, schedules=schedules)
    compiled = lower_step(
        options.step, config, one_image(options, config), options.batch, devices).compile()
    text, memory = compiled.as_text(), memory_bytes(compiled)
    program = Program(text)
    cycles = complete_cycles(read_cycles(schedules), program)
  if options.hlo:
    options.hlo.write_text(text)
  executed, sources = program.executed(), Sources(text)
  costs = [cost_of(each, program, CHIPS[options.target], cycles) for each in executed]
  parts = [sources.part_of(each.instruction, program) for each in executed]
  rows = [*plan_rows.memory_rows(memory), *plan_rows.count_rows(program, executed),
          *plan_rows.time_rows(
              costs, _needed_flops(options, config), _matrix_rate(options), options.batch),
          *plan_rows.part_rows(parts, costs),
          *plan_rows.op_rows(executed, parts, costs, options.top)]
  return rows, _notes(options, len(devices))


def _needed_flops(options, config):
  count = (benchmark_flops.training_flops if options.step == "train"
           else benchmark_flops.inference_flops)
  return count(options.height, options.width, config)


def _matrix_rate(options):
  chip = CHIPS[options.target]
  return chip.matrix_rate if options.dtype == "bfloat16" else chip.float32_rate


def one_image(options: argparse.Namespace, config: Config) -> Batch:
  """Returns a batch of one image at the sizes of the options."""
  return make_batch(argparse.Namespace(**{**vars(options), "batch": 1}), config)


def lower_step(step: str, config: Config, example: Batch, images: int,
               devices: Sequence[jax.Device]) -> jax.stages.Lowered:
  """Traces a step over a mesh of devices, from shapes alone, ready to be compiled.

  Args:
    step: "train" or "inference".
    config: of the step.
    example: a batch of one image, whose shapes all images have.
    images: per device.
    devices: to compile for.
  """
  mesh = Mesh(np.asarray(devices), (parallel.AXIS,), axis_types=(AxisType.Auto,))
  batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(
      (images * mesh.size, *x.shape[1:]), x.dtype), example)
  params = jax.eval_shape(functools.partial(init_params, config=config), jax.random.key(0))
  if step == "inference":
    function = parallel.data_parallel(
        functools.partial(predict, config=config), mesh,
        inputs=(parallel.REPLICATED, parallel.SHARDED, parallel.SHARDED), outputs=parallel.SHARDED)
    return function.lower(params, batch.images, batch.image_sizes)
  state = jax.eval_shape(functools.partial(init_state, config=config), params)
  return make_train_step(config, mesh).lower(state, batch)


def memory_bytes(compiled) -> dict[str, int]:
  """Returns the bytes that a compiled program takes on each device, by kind."""
  sizes = compiled.memory_analysis()
  return {"arguments": sizes.argument_size_in_bytes,
          "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
          "temporaries": sizes.temp_size_in_bytes,
          "program": sizes.generated_code_size_in_bytes}


def _notes(options, devices):
  return [f"{options.backbone}, five stages, {options.batch} x {options.height} x {options.width} "
          f"a chip, {options.dtype}, RoIs by {options.roi_method}, compiled for "
          f"{devices} x {options.target}; no device was used",
          "roofline: memory traffic or products at full rate, whichever takes longer; low, high: "
          "estimates; ms by part and of single instructions are of a step",
          "turns and starts: at most; loops as long as the data says count once"]
