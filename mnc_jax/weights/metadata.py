"""What the metadata of our models say besides the weights: config, categories and notes."""

from collections.abc import Mapping
import json
import pathlib

from mnc_jax.config import Config
from mnc_jax.config.serialization import from_json, without_paths


def read_config(metadata: Mapping[str, str], origin: str | pathlib.Path) -> Config:
  """Returns the config in the metadata of one of our models.

  Older files name paths of the machine that wrote them; they are ignored.

  Raises:
    ValueError: if it cannot be read, naming `origin`.
  """
  try:
    return without_paths(from_json(metadata["config"]))
  except (ValueError, TypeError) as error:
    raise ValueError(f"{origin}: its config cannot be read: {error}") from error


def read_categories(metadata: Mapping[str, str], origin: str | pathlib.Path
                    ) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
  """Returns the categories in the metadata of one of our models.

  Args:
    metadata: of the file.
    origin: the file's name in messages.

  Returns:
    `(names, ids)` without the background; None if the metadata have no categories.

  Raises:
    ValueError: if they cannot be read, or names and ids differ in number.
  """
  if "category_names" not in metadata:
    return None
  try:
    names = _distinct("category_names", metadata, str)
    ids = _distinct("category_ids", metadata, int)
  except (KeyError, ValueError, RecursionError) as error:
    reason = "nested too deep" if isinstance(error, RecursionError) else f"{error!s:.120}"
    raise ValueError(f"{origin} has no usable category_names and category_ids: {reason}; write it "
                     "again with mnc export") from error
  if len(names) != len(ids):
    raise ValueError(f"{origin} has {len(names)} category_names but {len(ids)} category_ids")
  return names, ids


def _distinct(field, metadata, kind):
  """Returns the entries of a JSON list; raises unless all are of type `kind` and differ."""
  values = json.loads(metadata[field])
  if not isinstance(values, list) or any(type(value) is not kind for value in values):
    raise ValueError(f"{field} is not a list of {kind.__name__}, but {values!r:.60}")
  if len(set(values)) < len(values):
    raise ValueError(f"{field} has an entry twice: {values!r:.60}")
  return tuple(values)


def read_notes(metadata: Mapping[str, str], origin: str | pathlib.Path) -> dict:
  """Returns the notes in `metadata` of our models: origin, numbers for the self-check; or {}.

  Raises:
    ValueError: if they are not a JSON object, naming `origin`.
  """
  try:
    notes = json.loads(metadata.get("notes", "{}"))
  except ValueError as error:
    raise ValueError(f"{origin}: its notes are not JSON: {error!s:.120}") from error
  except RecursionError:
    raise ValueError(f"{origin}: its notes are nested too deep") from None
  if not isinstance(notes, dict):
    raise ValueError(f"{origin}: its notes are not a JSON object, but {notes!r:.60}")
  return notes
