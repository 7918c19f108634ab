"""Writes a trained model as one file: export_weights.py --workdir DIR --output FILE.safetensors."""

import argparse
import json
import pathlib
import sys

from command_line import end_with_message
from mnc_jax import checkpoint, weights
from mnc_jax.config_json import to_json


def main(arguments) -> None:
  """Loads the last checkpoint and writes weights, config and category names."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--workdir", type=pathlib.Path, required=True, metavar="DIR")
  parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE")
  parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32",
                      help="what weights are rounded to; they are loaded as float32 again")
  options = parser.parse_args(arguments)
  params, config, categories = checkpoint.load_params(options.workdir)
  weights.save_safetensors(options.output, params, {
      "config": to_json(config),
      "category_names": json.dumps(list(categories.category_names)),
      "category_ids": json.dumps([int(i) for i in categories.category_ids]),
  }, dtype=options.dtype)
  print(f"{options.output}: {options.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
  end_with_message(main, sys.argv[1:])
