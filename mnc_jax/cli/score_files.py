"""What mnc evaluate prints and writes of the scores, and what they belong to."""

from collections.abc import Sequence
import json
import pathlib

from mnc_jax.cli.commands import TrainedModel
from mnc_jax.cli.parse import UsageError
from mnc_jax.coco.faults import count_noun
from mnc_jax.config import DataConfig
from mnc_jax.data import Source
from mnc_jax.evaluation.metrics.tables import format_csv, format_table
from mnc_jax.model.trained import Model
from mnc_jax.training import checkpoint

_SUFFIXES = ("txt", "csv", "json")  # Of the files of scores, in the order they are written.


def check_results_path(path: pathlib.Path | None, folder: pathlib.Path, data: DataConfig) -> None:
  """Raises if writing the results would replace something.

  Args:
    path: of the results, if they are to be written.
    folder: of the scores.
    data: whose files of annotations must stay.

  Raises:
    UsageError: if the path is a folder, one of the files of scores, or of annotations.
  """
  if path and path.is_dir():
    raise UsageError(f"--results {path} is a folder: give the name of a file in it")
  if path and path.resolve() in [(folder / f"evaluation.{suffix}").resolve()
                                 for suffix in _SUFFIXES]:
    raise UsageError(f"--results {path} is where the scores are written, and would be lost: give "
                     "another name")
  annotations = filter(None, (data.train_annotations, data.eval_annotations))
  if path and path.resolve() in [pathlib.Path(name).resolve() for name in annotations]:
    raise UsageError(f"--results {path} is a file of annotations, which would be lost: it is where "
                     "the instances are written (mnc score reads results)")


def describe_origin(options: TrainedModel, models: Sequence[Model], changed: Sequence[dict],
                    source: Source) -> dict:
  """Returns what the scores belong to: the data set, and the models that voted together."""
  names = [options.workdir or options.weights, *options.ensemble]
  return {"data": source.name, "models": [
      {"name": str(name), "origin": checkpoint.describe_source(model.notes),
       "changed_fields": fields}
      for name, model, fields in zip(names, models, changed, strict=True)]}


def format_origin(origin: dict) -> str:
  """Returns a line for `describe_origin`."""
  models = []
  for model in origin["models"]:
    fields = ", ".join(f"{name} {value}" for name, value in model["changed_fields"].items())
    models.append(f"{model['name']} ({model['origin']}{f'; {fields}' if fields else ''})")
  return f"Of {' with '.join(models)} on {origin['data']}."


def write_scores(folder: pathlib.Path, scores: dict, counts: dict, origin: dict) -> None:
  """Prints the table, and writes it and `evaluation.json`: the main numbers first."""
  summary = {
      "mean_ap_r_50": scores["0.5"]["mean_ap_11point"],
      "mean_ap_r_70": scores["0.7"]["mean_ap_11point"],
      "mean_ap_b_50": scores["boxes"]["0.5"]["mean_ap_11point"],
      "mean_ap_b_70": scores["boxes"]["0.7"]["mean_ap_11point"],
  } | counts | {"scored": origin} | scores
  table = f"{format_table(scores)}\n\n{format_origin(origin)}"
  print(f"{table}\n\nmAP^r at IoU .5: {summary['mean_ap_r_50']:.3f}, at .7: "
        f"{summary['mean_ap_r_70']:.3f} ({count_noun(counts['images'], 'image')}).", flush=True)
  texts = table + "\n", format_csv(scores), json.dumps(summary, indent=2) + "\n"
  for suffix, text in zip(_SUFFIXES, texts, strict=True):
    # At once: whoever finds the last of them, `evaluation.json`, has them all, and whole.
    (folder / f"evaluation.{suffix}.new").write_text(text, encoding="utf-8")
    (folder / f"evaluation.{suffix}.new").replace(folder / f"evaluation.{suffix}")
  print(f"Written to {folder}/evaluation.txt, .csv and .json")
