"""Measures speed, memory and arithmetic: python -m benchmarks COMMAND.

    ops        NMS, RoI warping and pooling (forward, with gradient), mask voting
    inference  images in, instances out: VGG-16, five stages
    train      training steps: VGG-16, five stages
    plan       the compiler's plan of such a step on a TPU or GPU that need not be there: memory,
               kernels, loops, collectives, milliseconds at least and at most
    data       files in, training batches out: images a second and memory; Linux only
    evaluation many images with many instances, found by the shipped weights and scored
    import     a VGG-16 with its dense layers from a file (550 MB) into a model, and the memory

Runs from a source tree on one device, and needs jax, flax, optax and numpy; `data`, `evaluation`
and `import` need all that mnc_jax needs. `plan` also needs the compiler, in an environment of its
own: `pip install "jax[tpu]" flax optax chex`, or `"jax[cuda12]"`. Where torchvision can be
imported, its operations and its Mask R-CNN stand in the next column.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import platform
import sys
import types

_MODULES = {"ops": "ops", "inference": "model", "train": "model", "plan": "plan", "data": "data",
            "evaluation": "evaluation", "import": "weights"}
_TARGETS = ("v5e", "v6e", "v5p", "h100")


def prepare_bare_machine() -> None:
  """Makes mnc_jax importable on a machine without it. Call before jax is imported."""
  # jax would take most of the device's memory at once, and leave none to torchvision.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  if importlib.util.find_spec("mnc_jax") is None:
    sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
  if importlib.util.find_spec("chex") is None:
    # mnc_jax uses only its assertions, which a benchmark can do without.
    chex = types.ModuleType("chex")
    chex.__getattr__ = lambda name: lambda *values, **options: None
    sys.modules["chex"] = chex


def parse_arguments(arguments) -> argparse.Namespace:
  """Reads the command line; `arguments` is without the program's name."""
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  commands = parser.add_subparsers(dest="command", required=True)
  _add_ops_options(commands.add_parser("ops", help="single operations"))
  for name, help_text in (("inference", "images to instances"), ("train", "training steps")):
    _add_model_options(commands.add_parser(name, help=help_text))
  for command in commands.choices.values():
    command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    command.add_argument("--repeats", type=int, default=5, help="the median of so many is taken")
    command.add_argument("--no-torchvision", action="store_true", help="leave its column out")
  _add_plan_options(commands.add_parser("plan", help="a step as compiled for a TPU or GPU"))
  _add_data_options(commands.add_parser("data", help="files to training batches"))
  evaluation = commands.add_parser("evaluation", help="images to scores")
  evaluation.add_argument("--images", type=int, default=1000)
  evaluation.add_argument("--instances", type=int, default=100, help="found in each image")
  imports = commands.add_parser("import", help="pretrained weights to a model")
  _add_width_options(imports)
  for command in commands.choices.values():
    command.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    command.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures here")
  return parser.parse_args(arguments)


def _add_ops_options(parser):
  parser.add_argument("--nms", type=int, nargs="+", default=(6000, 300, 12000, 2000),
                      help="pairs of boxes in, boxes out")
  parser.add_argument("--features", type=int, nargs=3, default=(37, 62, 512),
                      metavar=("HEIGHT", "WIDTH", "CHANNELS"))
  parser.add_argument("--rois", type=int, default=300, help="RoIs warped")
  parser.add_argument("--samples", type=int, default=28, help="samples a side of each RoI")
  parser.add_argument("--chunk", type=int, default=16, help="RoIs pooled at a time")
  parser.add_argument("--candidates", type=int, default=600, help="masks that vote")
  parser.add_argument("--categories", type=int, default=21, help="background included")
  parser.add_argument("--mask-size", type=int, default=28)
  parser.add_argument("--instances", type=int, default=100, help="instances voted on")


def _add_model_options(parser):
  parser.add_argument("--batch", type=int, default=1, help="images a step")
  parser.add_argument("--height", type=int, default=600)
  parser.add_argument("--width", type=int, default=1000)
  parser.add_argument("--categories", type=int, default=21, help="background included")
  _add_width_options(parser)
  parser.add_argument("--roi-method", choices=("gather", "matmul"), default="gather")
  parser.add_argument("--roi-chunk", type=int, default=16, help="RoIs pooled at a time")


def _add_plan_options(parser):
  parser.add_argument("--target", choices=_TARGETS, default="v5e")
  parser.add_argument("--topology", default="", help="for example v5e:16x16; empty: a small one")
  parser.add_argument("--step", choices=("train", "inference"), default="train")
  parser.add_argument("--backbone", default="vgg16")
  _add_model_options(parser)
  parser.add_argument("--dtype", choices=("float32", "bfloat16"))
  parser.add_argument("--top", type=int, default=10, help="single instructions listed")
  parser.add_argument("--hlo", type=pathlib.Path, metavar="FILE", help="write the program here")
  # Images a chip; the number of categories is COCO's.
  parser.set_defaults(batch=8, categories=81, dtype="bfloat16")


def _add_width_options(parser):
  parser.add_argument("--dense-width", type=int, default=4096, help="of fc6 and fc7")
  parser.add_argument("--mask-hidden", type=int, default=256, help="width of the mask head")


def _add_data_options(parser):
  parser.add_argument("--annotations", type=pathlib.Path, metavar="FILE",
                      help="a COCO file; without one 64 images of 384 x 640 are drawn")
  parser.add_argument("--images", type=pathlib.Path, metavar="DIR", help="its images")
  parser.add_argument("--batch", type=int, default=8, help="images a batch")
  parser.add_argument("--batches", type=int, default=200, help="measured, after a tenth as many")
  parser.add_argument("--workers", type=int, default=2, help="processes that read")
  parser.add_argument("--height", type=int, default=600)
  parser.add_argument("--width", type=int, default=1000)


def torchvision_column(options):
  """Returns the module that measures torchvision, or None and why."""
  if options.command in ("plan", "data", "evaluation", "import"):
    return None, "has nothing of the kind"
  if options.no_torchvision:
    return None, "left out by --no-torchvision"
  try:
    return importlib.import_module("benchmarks.torchvision"), ""
  except (ImportError, RuntimeError, OSError) as error:
    # An installation that does not fit its torch fails with the latter two.
    return None, f"cannot be imported ({error})"


def describe_machine() -> dict:
  """Returns what the figures depend on."""
  import jax
  device = jax.devices()[0]
  return {"device": device.device_kind, "platform": device.platform, "jax": jax.__version__,
          "python": platform.python_version(), "cpu_cores": len(os.sched_getaffinity(0))
          if hasattr(os, "sched_getaffinity") else os.cpu_count()}


def format_table(rows) -> str:
  """Lays out rows of one length, the first being the heading, in columns."""
  cells = [[_format(cell) for cell in row] for row in rows]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  lines = []
  for first, *others in cells:
    numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    lines.append("   ".join([first.ljust(widths[0]), *numbers]).rstrip())
  lines.insert(1, "-" * max(map(len, lines)))
  return "\n".join(lines)


def _format(cell):
  if cell is None:
    return "-"
  return cell if isinstance(cell, str) else f"{cell:.4g}" if cell < 1000 else f"{cell:.0f}"


def main(arguments) -> dict:
  """Measures, prints a table and returns what `--json` writes."""
  options = parse_arguments(arguments)
  if options.command == "plan":
    # It needs no device, and must not take one from a process that does.
    os.environ["JAX_PLATFORMS"] = "cpu"
  prepare_bare_machine()
  machine = describe_machine()
  print(f"mnc_jax benchmark: {options.command} on {machine['device']} "
        f"({machine['platform']}, {machine['cpu_cores']} CPU cores), jax {machine['jax']}",
        flush=True)
  torch_side, reason = torchvision_column(options)
  module = importlib.import_module(f"benchmarks.{_MODULES[options.command]}")
  rows, notes = module.measure(options, torch_side)
  columns = getattr(module, "COLUMNS", ("mnc_jax", "torchvision"))
  if torch_side is None and "torchvision" in columns:
    notes = [*notes, f"torchvision: {reason}"]
  print(format_table([("", *columns), *((row["name"], *map(row.get, columns)) for row in rows)]))
  print("\n".join(notes))
  chosen = {name: str(value) if isinstance(value, pathlib.Path) else value
            for name, value in vars(options).items() if name not in ("json", "command")}
  report = {"command": options.command, "machine": machine, "options": chosen, "rows": rows,
            "notes": notes}
  if options.json:
    options.json.write_text(json.dumps(report, indent=2) + "\n")
  return report


if __name__ == "__main__":
  main(sys.argv[1:])
