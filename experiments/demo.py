"""What `make demo` runs: predict with the shipped weights, then train from scratch and compare.

Every step is a command that works by itself; it is printed before it runs.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import cv2

from mnc_jax.cli.options import load_config, override
from mnc_jax.data import load_source
from mnc_jax.evaluation.visualize import grid

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = pathlib.Path("demo")
SHIPPED = pathlib.Path("mnc_jax/pretrained/shapes.safetensors")
CONFIG = pathlib.Path("experiments/configs/shapes.py")
LONG = CONFIG.with_name("shapes_long.py")
DATA = ("--data.data-dir", str(DEMO / "data"))
NUM_PICTURES = 12


def main() -> None:
  """Tells the story from data to a trained and scored model."""
  os.chdir(ROOT)
  started = time.perf_counter()
  tell("1. The data: images of drawn shapes with exact masks")
  write_pictures(DEMO / "images")

  tell("2. The weights that come with the package: find instances, and score on held-out images")
  shipped = predict_and_evaluate("--weights", SHIPPED, DEMO / "shipped")

  tell("3. Training from scratch: all five stages at once, about ten minutes on two cores")
  run("train.py", "--config", CONFIG, "--workdir", DEMO / "run", *DATA)
  trained = predict_and_evaluate("--workdir", DEMO / "run", DEMO / "trained")
  summarize(shipped, trained, (time.perf_counter() - started) / 60)


def tell(text: str) -> None:
  """Prints a heading."""
  print(f"\n\033[1m{text}\033[0m", flush=True)


def run(script: str, *arguments) -> None:
  """Prints and runs one of the scripts; a failure ends the demo."""
  command = ["python", f"experiments/{script}", *map(str, arguments)]
  print(f"$ {shlex.join(command)}", flush=True)
  finished = subprocess.run([sys.executable, *command[1:]], check=False)
  if finished.returncode:
    sys.exit(f"The demo stopped: {script} ended with status {finished.returncode}, see above.")


def write_pictures(folder: pathlib.Path) -> None:
  """Prepares the data set, and writes some held-out images as files."""
  source = load_source(demo_config().data, "eval")
  folder.mkdir(parents=True, exist_ok=True)
  for index in range(NUM_PICTURES):
    cv2.imwrite(str(folder / f"shapes_{index:02d}.png"), source.read_image(index)[..., ::-1])
  print(f"{len(source)} held-out images; {NUM_PICTURES} of them are now in {folder}")


def demo_config():
  """Returns the demo's config with its data in the demo's folder."""
  return override(load_config(CONFIG), list(DATA), "demo.py")


def predict_and_evaluate(kind: str, place: pathlib.Path, output: pathlib.Path) -> dict:
  """Draws predictions, scores the held-out images, and returns the scores."""
  pictures = output / "pictures"
  run("predict.py", kind, place, "--output", pictures, DEMO / "images")
  drawn = [cv2.imread(str(path)) for path in sorted(pictures.glob("*.png"))]
  cv2.imwrite(str(output / "overview.png"), grid(drawn, 4))
  run("evaluate.py", kind, place, "--output", output, *DATA)
  return json.loads((output / "evaluation.json").read_text())


def summarize(shipped: dict, trained: dict, minutes: float) -> None:
  """Prints both scores, where everything is, and what to try next."""
  tell(f"Done in {minutes:.1f} minutes.")
  print(f"{'mAP^r on ' + str(trained['images']) + ' held-out images':34} IoU .5   IoU .7")
  for name, scores in (("shipped weights", shipped), ("trained just now", trained)):
    print(f"{name:34} {scores['mean_ap_r_50']:6.3f}   {scores['mean_ap_r_70']:6.3f}")
  print(f"""
Look at   {DEMO / 'shipped' / 'overview.png'} and {DEMO / 'trained' / 'overview.png'}
          {DEMO / 'trained' / 'pictures' / 'instances.json'} (COCO results, RLE masks)
          tensorboard --logdir {DEMO / 'run' / 'logs'}   (pip install tensorboard)
Try next  python experiments/predict.py --weights {SHIPPED} --output out YOUR_IMAGE.png
          python experiments/train.py --config {CONFIG} --workdir runs/mine --model.no-box-gradient
          python experiments/train.py --config {LONG} --workdir runs/long
with .venv/bin/python, or after: source .venv/bin/activate.
docs/architecture.md tells how it works.""")


if __name__ == "__main__":
  main()
