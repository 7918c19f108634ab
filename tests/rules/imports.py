"""Who imports whom: the arrows between the parts of the library, and where devices are known."""

import ast

from rules.source import imported_modules, part_of

# Each part of mnc_jax and what it may import of mnc_jax. The arrows point one way.
_STAGES = {"config", "structs", "ops", "pixels", "resnet", "stages"}
_CASCADE = _STAGES | {"targets", "anchor_targets", "losses", "cascade"}
_ABOVE = _CASCADE | {
    "config_json", "config_check", "run_folder", "tree_shapes", "inference", "train",
    "checkpoint", "weights", "results"}
MAY_IMPORT = {
    "config": {"config"},
    "config_json": {"config"},
    "config_check": {"config", "config_json"},
    "run_folder": {"config", "config_json"},
    "tree_shapes": set(),
    "pixels": {"config"},
    "structs": {"config"},
    "ops": {"structs", "ops"},
    # Two stages are made of the blocks of a ResNet, and stages do not know each other.
    "resnet": {"config", "structs", "ops", "pixels"},
    "stages": {"config", "structs", "ops", "pixels", "resnet"},
    "targets": _STAGES,
    "anchor_targets": _STAGES | {"targets"},
    "losses": _STAGES | {"targets", "anchor_targets"},
    "cascade": _CASCADE,
    "views": _STAGES,
    "inference": _CASCADE | {"views"},
    "optimizer": _STAGES,
    "train": _CASCADE | {"optimizer"},
    "parallel": _CASCADE | {"inference", "train"},
    "checkpoint": _ABOVE,
    "diagnosis": _CASCADE | {"train", "tree_shapes"},
    "watchdog": set(),
    "weights": _ABOVE,
    "self_check": _CASCADE,
    "results": _ABOVE | {"metrics"},
    "segmentations": set(),
    "data": {"config", "structs", "segmentations", "data"},
    "metrics": {"config", "structs", "segmentations", "metrics"},
    "visualize": {"config", "structs"},
    "report": {"metrics", "visualize", "report"},
}
# Parts that work on the host alone.
HOST_PARTS = {"segmentations", "data", "metrics", "visualize", "report"}
DEVICE_LIBRARIES = {"jax", "flax", "optax", "chex"}
# What knows of many devices; parallel.py alone says it.
DEVICE_NAMES = {"pmap", "pmean", "psum", "all_gather", "shard_map", "axis_name", "axis_index",
                "replicate", "unreplicate"}


def check_imports(path, tree):
  """Imports inside mnc_jax follow the arrows, and stages do not know each other."""
  part = part_of(path)
  if part not in MAY_IMPORT:
    return [f"{path}: say in MAY_IMPORT what {part!r} may import"]
  faults = []
  for name, line in imported_modules(tree):
    pieces = name.split(".")
    if name.startswith("."):
      faults.append(f"{path}:{line}: relative import")
    elif pieces[0] == "mnc_jax" and pieces[1] not in MAY_IMPORT[part]:
      faults.append(f"{path}:{line}: {part} must not import {pieces[1]}")
    elif pieces[0] in DEVICE_LIBRARIES and part in HOST_PARTS:
      faults.append(f"{path}:{line}: {part} works on the host and must not import {pieces[0]}")
  return faults


def check_devices(path, tree):
  """Only parallel.py speaks of many devices."""
  if path == "parallel.py":
    return []
  faults = []
  for node in ast.walk(tree):
    for field in ("id", "attr", "arg", "name"):
      if getattr(node, field, None) in DEVICE_NAMES:
        line = getattr(node, "lineno", "?")
        faults.append(f"{path}:{line}: {getattr(node, field)} belongs in parallel.py")
  return faults


CHECKS = (check_imports, check_devices)
