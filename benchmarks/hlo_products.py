"""Operations of the convolutions and matrix products in a compiled program."""

import math
import re

import numpy as np

from benchmarks.hlo import Instruction, Program


def product_flops(instruction: Instruction, program: Program) -> int:
  """Counts the operations of a convolution or matrix product, 0 of any other instruction.

  A multiply-add counts as two; products with padding, and with the holes of dilated operands, as
  none. TPU programs have matrix products as convolutions.
  """
  if instruction.opcode == "dot":
    left = program.operands(instruction)[0].arrays[0].dims
    contracted = instruction.attribute(r"lhs_contracting_dims=\{([\d,]*)\}").split(",")
    return 2 * math.prod(instruction.arrays[0].dims) * math.prod(
        left[int(axis)] for axis in contracted if axis)
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
  if not labels:
    return 0
  left, right = (operand.arrays[0].dims for operand in program.operands(instruction)[:2])
  if instruction.opcode != "convolution":
    return _cudnn_flops(instruction, labels, left, right)
  image, kernel, result = (dict(zip(axes, dims, strict=True)) for axes, dims in zip(
      labels.groups(), (left, right, instruction.arrays[0].dims), strict=True))
  groups = int(instruction.attribute(r"feature_group_count=(\d+)") or 1) * int(
      instruction.attribute(r"batch_group_count=(\d+)") or 1)
  pairs = math.prod(_pairs(instruction, int(axis), image[axis], kernel[axis], result[axis])
                    for axis in image if axis.isdigit())
  return 2 * image["b"] * image["f"] * result["f"] * pairs // groups


def _cudnn_flops(call, labels, left, right):
  """Counts all products, those with padding too: its calls name the axes of the forward pass."""
  result, axis = call.arrays[0].dims, labels[3].index("f")
  kind = call.attribute(r"cudnn\$conv(\w+)")
  kernel, output = {"BackwardInput": (right, left), "BackwardFilter": (result, right)}.get(
      kind, (right, result))
  return 2 * math.prod(kernel) * math.prod(output) // output[axis]


def _pairs(convolution, axis, size, window, results):
  """Counts pairs of a result and a window position along an axis that meet a real element."""
  def of_axis(name, default):
    values = convolution.attribute(rf"[{{ ]{name}=([\dx_\-]+)")
    return values.split("x")[axis] if values else default

  stride, holes, spread = (int(of_axis(name, "1")) for name in (
      "stride", "lhs_dilate", "rhs_dilate"))
  before = int(of_axis("pad", "0_0").split("_")[0])
  positions = (np.arange(results)[:, None] * stride - before + np.arange(window) * spread)
  return int(np.sum((positions >= 0) & (positions < size * holes) & (positions % holes == 0)))
