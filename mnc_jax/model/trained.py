"""A trained model as one value, and which of them can vote together."""

from collections.abc import Sequence
from typing import NamedTuple

from mnc_jax.coco.categories import check_same_categories
from mnc_jax.config import Config


class Model(NamedTuple):
  """A trained model, wherever it was loaded from.

  Attributes:
    params: the weights, nested dict of float32 arrays, as from `init_params`.
    config: that it was trained with; `config.inference` holds the defaults of `detect`.
    category_names: of C - 1 categories, background not among them; label i is entry i - 1.
    category_ids: of the same categories, as the annotations of its data set have them.
    notes: JSON values on its origin: `source`, `step`, and numbers for `mnc predict --self-check`.
  """
  params: dict
  config: Config
  category_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  notes: dict


def check_members(models: Sequence[Model], names: Sequence[str]) -> None:
  """Rejects an ensemble whose candidates differ in meaning, or that needs different pixels.

  Args:
    models: one or more.
    names: of each, for the message.

  Raises:
    ValueError: naming the first model that does not fit the first of all, and what differs.
  """
  first = models[0]
  for model, name in zip(models[1:], names[1:], strict=True):
    where = f"{name} cannot join {names[0]} in an ensemble"
    check_same_categories(model.category_names, first.category_names, first=f"{where}: it",
                          second=names[0])
    for section, field in (("model", "mask_size"), ("data", "stretch_contrast"),
                           ("data", "exif"), ("data", "page"), ("data", "channels")):
      theirs, ours = (getattr(getattr(one.config, section), field) for one in (model, first))
      if theirs != ours:
        raise ValueError(
            f"{where}: its {section}.{field} is {theirs}, that of the first model {ours}")
