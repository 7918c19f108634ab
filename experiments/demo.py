"""What `make demo` runs: nuclei under a microscope, then training from scratch on drawn shapes.

Every step is a command that works by itself, and is printed before it runs.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time
import webbrowser

import mnc_jax
from mnc_jax import configs
from mnc_jax.data import load_source, read_image
from mnc_jax.data.images import encode_png
from mnc_jax.evaluation.visualize import grid

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEMO = pathlib.Path("demo")
DATA = DEMO / "data"
NUM_PICTURES = 12


def main() -> None:
  """Goes from images to instances, and from data to a trained and scored model."""
  os.chdir(ROOT)
  started = time.perf_counter()
  print_heading("1. Nuclei in microscope images, by the model that comes with the package")
  nuclei = find_nuclei(DEMO / "nuclei")

  print_heading("2. Drawn shapes with exact masks, by the model that comes with the package")
  write_pictures(DEMO / "images")
  shipped = predict_and_evaluate("--weights", "shapes", DEMO / "shipped")

  print_heading("3. Training from scratch: all five stages at once, 3.3 minutes on two cores")
  run("train", "--config", "shapes", "--workdir", DEMO / "run", "--data.data-dir", DATA)
  trained = predict_and_evaluate("--workdir", str(DEMO / "run"), DEMO / "trained")
  summarize({"nuclei, shipped": nuclei, "shapes, shipped": shipped,
             "shapes, trained just now": trained}, (time.perf_counter() - started) / 60)
  open_pages(DEMO / "nuclei" / "report" / "index.html", DEMO / "trained" / "report" / "index.html")


def print_heading(text: str) -> None:
  """Prints a heading."""
  print(f"\n\033[1m{text}\033[0m", flush=True)


def run(command: str, *arguments) -> None:
  """Prints and runs a command of mnc; a failure ends the demo."""
  words = [command, *map(str, arguments)]
  print(f"$ {shlex.join(['mnc', *words])}", flush=True)
  finished = subprocess.run([sys.executable, "-m", "mnc_jax", *words], check=False)
  if finished.returncode:
    sys.exit(f"The demo stopped: mnc {command} ended with status {finished.returncode}, see above.")


def find_nuclei(output: pathlib.Path) -> dict:
  """Finds nuclei in the sample images, and returns the scores against their label images."""
  images = mnc_jax.sample_images("nuclei")
  run("prepare", "--dataset", "label_images", "--source",
      os.path.relpath(images[0].parents[1]), "--data-dir", DATA)
  return predict_and_evaluate(
      "--weights", "nuclei", output, images=[os.path.relpath(image) for image in images])


def write_pictures(folder: pathlib.Path) -> None:
  """Prepares the data set, and writes some held-out images as files."""
  config = dataclasses.replace(configs.get("shapes").data, data_dir=str(DATA))
  source = load_source(config, "eval")
  folder.mkdir(parents=True, exist_ok=True)
  for index in range(NUM_PICTURES):
    (folder / f"shapes_{index:02d}.png").write_bytes(encode_png(source.read_image(index)))
  print(f"{len(source)} held-out images; {NUM_PICTURES} of them are now in {folder}")


def predict_and_evaluate(option: str, model: str, output: pathlib.Path, *,
                         images=(DEMO / "images",)) -> dict:
  """Draws predictions, scores the held-out images, and returns the scores."""
  pictures = output / "pictures"
  run("predict", option, model, "--output", pictures, *images)
  drawn = [read_image(path) for path in sorted(pictures.glob("*.png"))]
  (output / "overview.png").write_bytes(encode_png(grid(drawn, min(len(drawn), 4))))
  run("evaluate", option, model, "--output", output, "--report", output / "report",
      "--data.data-dir", DATA)
  return json.loads((output / "evaluation.json").read_text())


def summarize(scores: dict[str, dict], minutes: float) -> None:
  """Prints the scores by model, where everything is, and what to try next."""
  print_heading(f"Done in {minutes:.1f} minutes.")
  print(f"{'mAP^r on held-out images':28} images   IoU .5   IoU .7")
  for name, found in scores.items():
    print(f"{name:28} {found['images']:6}   {found['mean_ap_r_50']:6.3f}   "
          f"{found['mean_ap_r_70']:6.3f}")
  print(f"""
See       overview.png in {DEMO / 'nuclei'}, {DEMO / 'shipped'} and {DEMO / 'trained'}: instances
          report/index.html in the same folders: the errors
          {DEMO / 'trained' / 'pictures' / 'instances.json'} (COCO results, RLE masks)
          tensorboard --logdir {DEMO / 'run' / 'logs'}   (pip install tensorboard)
Try next  mnc predict --weights nuclei --output out YOUR_IMAGE.png
          mnc train --config shapes --workdir runs/mine \\
              --model.no-box-gradient --model.box-gradient-clip 0
          mnc train --config shapes_long --workdir runs/long
          mnc train --config shapes --help
after: source .venv/bin/activate. docs/architecture.md explains how it works.""")


def open_pages(*pages: pathlib.Path) -> None:
  """Opens pages in the browser, where there is a screen."""
  if sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
    for page in pages:
      webbrowser.open(page.resolve().as_uri())


if __name__ == "__main__":
  main()
