"""The table of a compiler's plan, and the check that `make plan` makes of it."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from benchmarks import check_plan, plan
from benchmarks.__main__ import format_table, parse_arguments
from benchmarks.hlo import Program
from benchmarks.hlo_cost import Cost
from benchmarks.hlo_parts import Sources
from benchmarks.plan_rows import count_rows, memory_rows, op_rows, part_rows, time_rows
from helpers import tiny
from mnc_jax.ops.roi_warp import roi_warp

PROGRAM = pathlib.Path(__file__).with_name("small_program.hlo").read_text()


def counts_of(text):
  program = Program(text)
  return {row["name"]: row["plan"] for row in count_rows(program, program.executed())}


def test_counts_by_hand():
  assert counts_of(PROGRAM) == {
      "kernels": 8, "kernels started": 5 * 3 + 5, "loops": 2, "turns of loops": 5,
      "loops as long as the data says": 1, "sorts": 1, "large pads with holes": 0,
      "collectives": 1, "collectives in loops": 0, "MB exchanged": 64e-6}


def test_large_pads_and_collectives_in_loops_are_counted():
  large = counts_of(PROGRAM.replace("f32[7]", "f32[700000]"))
  assert large["large pads with holes"] == 1
  without_holes = counts_of(PROGRAM.replace("f32[7]", "f32[700000]").replace("0_0_1", "0_699996"))
  assert without_holes["large pads with holes"] == 0
  in_loop = counts_of(PROGRAM.replace("negate(%j.3)", "all-reduce(%j.3), to_apply=%add"))
  assert (in_loop["collectives"], in_loop["collectives in loops"]) == (2, 1)
  assert in_loop["MB exchanged"] == pytest.approx(64e-6 * (1 + 5))


COSTS = [Cost(memory=2e-3, matrix=1e-3, flops=1e9), Cost(compiler=3e-3, schedule=5e-3),
         Cost(memory=4e-3, compiler=1e-3)]


def test_times_by_hand():
  rows = {row["name"]: row for row in time_rows(COSTS, {"a": 4e9, "b": 2e9}, 3e12, 2)}
  assert rows["needed GFLOP an image"]["plan"] == 6
  assert rows["planned GFLOP an image"]["plan"] == 0.5
  assert rows["needed ms a step at the matrix rate"]["plan"] == pytest.approx(4)
  assert [rows["ms an image"][column] for column in ("roofline", "low", "high")] == pytest.approx(
      [3, 4.5, 5.5])
  assert rows["share of the matrix rate"]["low"] == pytest.approx(4 / 9)


def test_parts_and_instructions_come_by_time():
  rows = part_rows(["x", "y", "x"], COSTS)
  assert [(row["name"], row["low"], row["high"]) for row in rows] == [
      ("ms: x", pytest.approx(6), pytest.approx(6)), ("ms: y", pytest.approx(3), pytest.approx(5))]
  executed = [each for each in Program(PROGRAM).executed()
              if each.instruction.name in ("by_data", "sorted", "spread")]
  assert [row["name"] for row in op_rows(executed, ["x", "y", "x"], COSTS, 2)] == [
      "ms: spread f32[7] (x)", "ms: sorted f32[100] (y)"]
  assert format_table([("", *plan.COLUMNS), ("spread", *map(rows[0].get, plan.COLUMNS))])


PLAN = {"GB a chip": 10.2, "loops": 5, "large pads with holes": 0, "collectives in loops": 0,
        "MB exchanged": 0.4}


@pytest.mark.parametrize(("change", "fault"), [
    ({}, None), ({"MB exchanged": 0.2}, "exchanged: 200000, should be 400000"),
    ({"GB a chip": 16.1}, "GB a chip: 16.1"), ({"loops": check_plan.MOST_LOOPS + 1}, "loops: "),
    ({"MB exchanged": 0.8}, "exchanged: 800000"), ({"MB exchanged": 0.39}, "exchanged: 390000"),
    ({"MB exchanged": 0.404}, None), ({"MB exchanged": 0.405}, "exchanged: 405000"),
    ({"collectives in loops": 1}, "in loops: 1"),
    ({"large pads with holes": 8}, "holes: 8, should be at most 0")])
def test_faults_of_a_plan(change, fault):
  found = check_plan.find_faults(PLAN | change, memory=16e9, exchanged=400_000)
  assert len(found) == (fault is not None)
  assert not fault or fault in found[0]


@pytest.mark.parametrize(("step", "inputs"), [("train", 9), ("inference", 3)])
def test_a_step_is_traced_from_shapes(step, inputs):
  options = parse_arguments(["plan", "--height", "64", "--width", "96", "--categories", "3"])
  config = tiny.tiny_config()
  lowered = plan.lower_step(step, config, plan.one_image(options, config), 5, jax.devices()[:1])
  (state, *batch), _ = lowered.args_info
  arrays = jax.tree.leaves(batch)
  assert arrays[0].shape == (5, 64, 96, 3)
  assert len(arrays) == inputs - 1
  # Memory of the old state holds the new one.
  assert {leaf.donated for leaf in jax.tree.leaves(state)} == {step == "train"}
  assert not any(leaf.donated for leaf in arrays)


def test_the_bytes_of_a_program_and_its_parts():
  features, boxes = jnp.ones((6, 8, 4)), jnp.array([[0.0, 0.0, 50.0, 60.0]])
  warp = lambda features, boxes: roi_warp(features, boxes, size=2, stride=8)
  compiled = jax.jit(lambda *inputs: jax.vjp(warp, *inputs)[1](jnp.ones((1, 2, 2, 4)))).lower(
      features, boxes).compile()
  memory = {row["name"]: row["plan"] for row in memory_rows(plan.memory_bytes(compiled))}
  assert memory["GB: arguments"] * 1e9 == pytest.approx(4 * (6 * 8 * 4 + 4))
  assert memory["GB a chip"] == pytest.approx(sum(
      memory[f"GB: {kind}"] for kind in ("arguments", "results", "temporaries", "program")))
  program, sources = Program(compiled.as_text()), Sources(compiled.as_text())
  parts = {sources.part_of(each.instruction, program) for each in program.executed()}
  assert "ops/roi_warp.py, backward" in parts
  assert {part.partition(",")[0] for part in parts} <= {"ops/roi_warp.py", "other"}


def test_defaults_are_a_step_of_coco():
  options = parse_arguments(["plan", "--target", "h100"])
  assert (options.batch, options.categories, options.dtype, options.height) == (
      8, 81, "bfloat16", 600)
