"""Our own models as one file, also with wrong metadata; configs, and overrides of configs."""

import contextlib
import dataclasses
import functools
import io
import json
import math
import re
import typing

import jax
import numpy as np
from safetensors.numpy import save

from helpers.tiny import tiny_config
from mnc_jax import weights
from mnc_jax.cli.commands import COMMANDS
from mnc_jax.cli.parse import parse
from mnc_jax.config import Config, release
from mnc_jax.config.model import BackboneName
from mnc_jax.config.serialization import from_json, to_json
from mnc_jax.config.validation import check_values
from mnc_jax.model.parameters import init_params
from mutations.damage import damage_bytes, damage_json, spell_json
from mutations.outcomes import Family, Invalid, require

_NAMES, _IDS = ("disc", "square"), (1, 2)


@functools.cache
def _shapes():
  return jax.eval_shape(lambda: init_params(jax.random.key(0), tiny_config()))


@functools.cache
def _sound():
  rng, flat = np.random.default_rng(0), {}
  for path, leaf in jax.tree_util.tree_flatten_with_path(_shapes())[0]:
    flat["/".join(key.key for key in path)] = rng.normal(size=leaf.shape).astype(np.float32)
  return flat


def _metadata():
  return {"config": to_json(tiny_config()), "category_names": json.dumps(_NAMES),
          "category_ids": json.dumps(_IDS), "notes": json.dumps({"source": "a run"})}


def write_model(rng, folder):
  """Writes a model and damages its metadata, its header or any byte."""
  path, metadata = folder / "a.safetensors", _metadata()
  if rng.random() < 0.6:
    name = rng.choice(list(metadata))
    metadata[name] = spell_json(rng, damage_json(rng, json.loads(metadata[name]))).decode("latin-1")
  content = save(_sound(), metadata)
  if rng.random() < 0.5:
    # Half of it in the header, which is a small part of the file.
    end = 8 + int.from_bytes(content[:8], "little")
    content = (damage_bytes(rng, content[:end]) + content[end:] if rng.random() < 0.5
               else damage_bytes(rng, content))
  path.write_bytes(content)
  return path.name


def read_model(folder):
  """Reads the file whole and as a source of weights."""
  path = folder / "a.safetensors"
  params, metadata = weights.load_safetensors(path)
  metadata_read = weights.read_categories(metadata, path), weights.read_notes(metadata, path)
  config = weights.read_config(metadata, path)
  loaded, _ = weights.load_pretrained(
      _shapes(), path, config=tiny_config().model, category_names=_NAMES)
  return params, config, metadata_read, loaded


def check_model(found):
  """Parameters are the model's, finite; config, categories and notes are valid."""
  _, config, (categories, notes), loaded = found
  require(jax.tree.structure(loaded) == jax.tree.structure(_shapes()), "another tree")
  for leaf, like in zip(jax.tree.leaves(loaded), jax.tree.leaves(_shapes()), strict=True):
    require(leaf.shape == like.shape and np.isfinite(leaf).all(), "a wrong shape or number")
  require(isinstance(notes, dict), "notes")
  if categories:
    names, ids = categories
    require(len(set(names)) == len(names) == len(set(ids)), f"categories {categories}")
    require(all(type(number) is int and 0 <= number < 2**63 for number in ids), f"ids {ids}")
  check_config(config)


def check_config(config):
  """Every field has its type, and no number is beyond what can be computed with."""
  for section in dataclasses.fields(config):
    part = getattr(config, section.name)
    for field in dataclasses.fields(part):
      _check_value(f"{section.name}.{field.name}", getattr(part, field.name), field.type)


def _check_value(name, value, hint):
  if typing.get_origin(hint) is tuple:
    require(isinstance(value, tuple), f"{name} {value!r}")
    for item in value:
      _check_value(name, item, typing.get_args(hint)[0])
  elif name == "model.backbone":
    require(value in typing.get_args(BackboneName), f"{name} {value!r}")
  elif name == "data.dataset" or name.endswith("_loss"):  # Programs can add to these.
    require(type(value) is str and re.fullmatch("[a-z][a-z0-9_]*", value), f"{name} {value!r}")
  elif typing.get_origin(hint) is typing.Literal:
    require(value in typing.get_args(hint), f"{name} {value!r}")
  elif hint in (int, float):
    require(type(value) in (int, hint), f"{name} {value!r}")
    require(math.isfinite(value) and (type(value) is float or abs(value) < 2**63),
            f"{name} {value!r}")
  else:
    require(type(value) is hint, f"{name} {value!r}")


def write_config(rng, folder):
  """Writes a config as JSON, damaged."""
  content = json.loads(to_json(rng.choice((Config(), release(), tiny_config()))))
  (folder / "config.json").write_bytes(spell_json(rng, damage_json(rng, content)))
  return ""


def read_config(folder):
  """Reads it as checkpoints and files of weights do."""
  config = from_json((folder / "config.json").read_bytes())
  check_values(config)
  return config


_TEXTS = ("nan", "inf", "-inf", "-1", "0", "1", "1e999", "1e400", "9" * 30, "9" * 5000, "", "None",
          "True", "text", "1.5", "[1]", "-", "--", "é", "\ud800", "1 2", "small", "conv")


def write_overrides(rng, folder):
  """Writes one to three overrides of fields, or of what is no field."""
  words = []
  for _ in range(rng.randint(1, 3)):
    section = rng.choice(dataclasses.fields(Config))
    field = rng.choice(dataclasses.fields(section.default))
    name = rng.choice((field.name, field.name, field.name, field.name + "s"))
    words += [f"--{section.name}.{name}", *rng.choices(_TEXTS, k=rng.choice((1, 1, 1, 2, 4)))]
  (folder / "words.json").write_text(json.dumps(words))
  return ""


def read_overrides(folder):
  """Reads them as the commands do, which end with a message."""
  said = io.StringIO()
  try:
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
      words = json.loads((folder / "words.json").read_text())
      return parse(COMMANDS["train"], "train", ["--config", "shapes", "--workdir", "w", *words],
                   base=tiny_config()).experiment
  except SystemExit as error:
    if not said.getvalue().strip() or error.code in (0, None):
      raise Invalid("it ended without a message") from error
    # In tyro's words, which name the override.
    require("--" in said.getvalue(), said.getvalue())
    raise ValueError("rejected") from error


MODELS = Family(write_model, read_model, check_model)
CONFIGS = Family(write_config, read_config, check_config)
OVERRIDES = Family(write_overrides, read_overrides, check_config)
