"""Reading of compiled programs: loops, fusions, bytes, products, sources."""

import pathlib
import textwrap

import jax
import jax.numpy as jnp
import pytest

from benchmarks import schedule
from benchmarks.chips import Chip
from benchmarks.hlo import Array, Program, parse_shape
from benchmarks.hlo_cost import Cost, cost_of, moved_bytes
from benchmarks.hlo_kinds import has_holes, is_collective, is_kernel
from benchmarks.hlo_parts import Sources
from benchmarks.hlo_products import product_flops

# Two loops, fusions, a product, an all-reduce, in the form of XLA's optimised HLO for TPUs.
PROGRAM = pathlib.Path(__file__).with_name("small_program.hlo").read_text()
CHIP = Chip("", 0, bandwidth=1e9, matrix_rate=1e12, float32_rate=5e11, clock=1e6)


@pytest.fixture(scope="module")
def program():
  return Program(PROGRAM)


def executed(program, name):
  found, = [each for each in program.executed() if each.instruction.name == name]
  return found


def test_shapes():
  assert parse_shape("(f32[2,3]{1,0:T(8,128)S(1)}, pred[], bf16[4]{0:T(128)(2,1)})") == (
      Array("f32", (2, 3), False), Array("pred", (), True), Array("bf16", (4,), True))
  assert [array.nbytes for array in parse_shape("f32[2,3] pred[5] bf16[4] s64[] s4[6]")] == [
      24, 5, 8, 8, 3]


def test_bodies_of_loops_run_as_often_as_their_condition_says(program):
  assert program.turns(program.instructions["outer"]) == 5
  assert program.turns(program.instructions["inner"]) is None
  assert executed(program, "slices").times == 5
  assert executed(program, "slices").loops == ("outer",)
  assert executed(program, "by_data").loops == ("outer", "inner")
  assert executed(program, "by_data").times == 5  # An unknown number of turns counts once.
  assert executed(program, "sorted").times == 1


def test_a_constant_beside_a_bound_in_the_data_is_not_taken_for_the_turns():
  compare = "%less.2 = pred[] compare(%k.1, %five), direction=LT\n"
  both = compare.replace("less.2", "below") + """\
  %k.2 = s32[] get-tuple-element(%k.0), index=0
  %limited = pred[] compare(%k.1, %k.2), direction=LT
  ROOT %less.2 = pred[] and(%below, %limited)
"""
  program = Program(PROGRAM.replace("ROOT " + compare, both))
  assert program.turns(program.instructions["outer"]) is None


def test_turns_are_found_inside_fusions():
  compare = "ROOT %less.2 = pred[] compare(%k.1, %five), direction=LT\n"
  fused = "ROOT %less.2 = pred[] fusion(%k.1, %five), kind=kLoop, calls=%less_body\n"
  body = """%less_body (s.0: s32[], s.1: s32[]) -> pred[] {
  %s.0 = s32[] parameter(0)
  %s.1 = s32[] parameter(1)
  ROOT %is_less = pred[] compare(%s.0, %s.1), direction=LT
}

%outer_condition"""
  program = Program(PROGRAM.replace(compare, fused).replace("%outer_condition", body, 1))
  assert program.turns(program.instructions["outer"]) == 5


def test_kernels(program):
  kernels = [each.instruction.name for each in program.executed() if is_kernel(each.instruction)]
  # Copies count, arithmetic on scalars does not. A body is listed after its loop.
  assert kernels == [
      "start", "by_data", "slices", "updates", "sorted", "product", "spread", "exchanged"]


def test_holes_and_collectives_inside_fusions_are_found(program):
  fusion = program.instructions["spread"]
  assert [part.name for part in program.inside(fusion)
          if has_holes(part, least_bytes=1)] == ["holes"]
  assert not any(has_holes(part, least_bytes=1000) for part in program.inside(fusion))
  assert [each.instruction.name for each in program.executed()
          if is_collective(each.instruction)] == ["exchanged"]


def test_bytes_by_hand(program):
  bytes_of = lambda name: moved_bytes(program.instructions[name], program)
  assert bytes_of("slices") == 2 * 4 * 16 + 4  # A row of 100 is read and written; its number.
  assert bytes_of("updates") == 2 * 4 * 16 + 4  # The new row is read, and written in place.
  assert bytes_of("sorted") == 2 * 4 * 100  # Reads and writes.
  assert bytes_of("product") == 2 * (8 * 32 + 8 * 16)  # One operand is in on-chip memory.
  assert bytes_of("exchanged") == 2 * 4 * 16


def test_costs_by_hand(program):
  product = cost_of(executed(program, "product"), program, CHIP, {"product": 7})
  assert product == pytest.approx((768 / 1e9, 8192 / 1e12, 3e-6, 7e-6, 8192))
  assert (product.roofline, product.low, product.high) == pytest.approx((768 / 1e9, 3e-6, 7e-6))
  # The largest integer stands for no estimate.
  assert cost_of(executed(program, "slices"), program, CHIP, {"slices": 2}) == pytest.approx(
      (5 * 132 / 1e9, 0, 0, 5 * 2e-6, 0))
  assert cost_of(executed(program, "exchanged"), program, CHIP, {}) == Cost()
  assert cost_of(executed(program, "start"), program, CHIP, {}) == Cost()


def test_float32_products_take_passes():
  text = PROGRAM.replace("bf16[", "f32[").replace(
      "bf_io->bf", "bf_io->bf, operand_precision={highest,highest}")
  program = Program(text)
  cost = cost_of(executed(program, "product"), program, CHIP, {})
  assert cost.matrix == pytest.approx(6 * 2 * 8 * 32 * 16 / 5e11)


def convolve(image, kernel, options):
  return jax.lax.conv_general_dilated(
      image, kernel, options.get("strides", (1, 1)), ((1, 1), (0, 2)),
      lhs_dilation=options.get("holes"), rhs_dilation=options.get("spread"),
      feature_group_count=options.get("groups", 1), dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("options", [
    {}, {"strides": (2, 3)}, {"spread": (2, 1)}, {"holes": (1, 2)}, {"groups": 2}])
@pytest.mark.parametrize("argument", [None, 0, 1])
def test_products_as_xla_counts_them(options, argument):
  inputs = [jnp.ones((2, 9, 11, 4)), jnp.ones((3, 3, 4 // options.get("groups", 1), 6))]

  def gradient(*inputs):
    output, backward = jax.vjp(lambda *inputs: convolve(*inputs, options), *inputs)
    return backward(jnp.ones_like(output))[argument]

  function = gradient if argument is not None else lambda *inputs: convolve(*inputs, options)
  lowered = jax.jit(function).lower(*inputs)
  program = Program(lowered.compile().as_text())
  counted = sum(product_flops(part, program) for part in program.instructions.values())
  assert counted == lowered.cost_analysis()["flops"] > 0


def test_matrix_products_by_hand():
  program = Program(textwrap.dedent("""
      ENTRY %main (a: f32[5,8,3], b: f32[5,3,7]) -> f32[5,8,7] {
        %a = f32[5,8,3]{2,1,0} parameter(0)
        %b = f32[5,3,7]{2,1,0} parameter(1)
        ROOT %dot = f32[5,8,7]{2,1,0} dot(%a, %b), lhs_batch_dims={0}, lhs_contracting_dims={2}
      }"""))
  assert product_flops(program.instructions["dot"], program) == 2 * 5 * 8 * 3 * 7


@pytest.mark.parametrize(("kind", "operands", "result"), [
    ("Forward", ("x", "w"), "y"), ("BackwardInput", ("y", "w"), "x"),
    ("BackwardFilter", ("x", "y"), "w")])
def test_calls_of_cudnn_by_hand(kind, operands, result):
  shapes = {"x": "f32[2,8,8,3]", "w": "f32[5,3,3,3]", "y": "f32[2,8,8,5]"}
  parameters = "\n".join(f"  %{name} = {shape} parameter({number})"
                         for number, (name, shape) in enumerate(shapes.items()))
  program = Program(f"""
ENTRY %main (x: f32[]) -> f32[] {{
{parameters}
  %call = ({shapes[result]}, u8[0]) custom-call(%{operands[0]}, %{operands[1]}), \
window={{size=3x3 pad=1_1x1_1}}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{kind}"
}}""")
  assert product_flops(program.instructions["call"], program) == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)


def test_sources(program):
  sources = Sources(PROGRAM)
  parts = {name: sources.part_of(program.instructions[name], program)
           for name in ("slices", "sorted", "product", "spread", "updates", "exchanged")}
  assert parts == {
      "slices": "ops/nms.py", "sorted": "model/stages/box_stage.py, backward",
      "product": "training/optimizer.py", "spread": "ops/roi_warp.py", "updates": "other",
      "exchanged": "collectives"}


def test_cycles_of_a_schedule_count_its_loops():
  text = textwrap.dedent("""\
      = control target key start
           0   :  { %s1 = inlined } /* Start region 0 */
         0x1   : > { %v2 = vadd } /* Start region 7 */
         0x2   : >> { %v2 = vadd } /* Start region 8 */
         0x3   : >> { %p3 = scmp.ge.s32.totalorder %s9, 4 ;; sbr.rel (!%p3) target = $region8 }
         0x4   : > { %p6_p2 = scmp.eq.s32.totalorder %s8, 10 }
         0x5   : > { %6 = sbr.rel (!%p6_p2) target = $region7 }
         0x6   :  { %7 = sbr.rel (%p0) target = $region9 }
         0x7   :  { %8 = end } /* Start region 9 */
      """)
  assert schedule.count_cycles(text) == 3 + 10 * (3 + 4 * 2)


def test_kernels_that_were_compiled_once_share_their_cycles(tmp_path, program):
  for name in ("1-slices-00-schedule-analysis_final_bundles.txt", "1-slices-01-final_bundles.txt"):
    (tmp_path / name).write_text("   0   :  { a }\n 0x1   :  { b }\n")
  cycles = schedule.read_cycles(tmp_path)
  assert cycles == {"slices": 2}
  assert schedule.complete_cycles(cycles, program) == {"slices": 2}
  twin = PROGRAM.replace("  %updates =", "  %twin = f32[1,16] fusion(%rows, %step), kind=kLoop, "
                         "calls=%slice_body\n  %updates =")
  assert schedule.complete_cycles(cycles, Program(twin)) == {"slices": 2, "twin": 2}
