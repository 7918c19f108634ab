"""The parameters of the whole model, by stage."""

import jax

from mnc_jax.config import Config
from mnc_jax.model.backbones import features
from mnc_jax.model.stages import box_stage, category_stage, mask_stage

BACKBONES = ("features", "mask_features", "category_features")
"""Parameters of each stage's backbone, of which only the first are there if stages share one."""


def init_params(key: jax.Array, config: Config) -> dict:
  """Initialises the weights of all stages; stages 4 and 5 share those of 2 and 3.

  Args:
    key: random key of the initialisation.
    config: with `config.model.num_categories` set.

  Returns:
    A dict of float32 trees: `features`, `box_stage`, `mask_stage`, `category_stage`; if
    features are not shared, also `mask_features` and `category_features`.

  Raises:
    ValueError: if the number of categories is not set.

  Example:
    >>> import jax
    >>> import mnc_jax
    >>> from mnc_jax.config import Config, ModelConfig
    >>> config = Config(model=ModelConfig(num_categories=3, backbone="small", dense_width=8))
    >>> init = jax.jit(mnc_jax.init_params, static_argnames="config")
    >>> params = init(jax.random.key(0), config=config)
    >>> params["category_stage"]["category"]["bias"].shape
    (3,)
  """
  model = config.model
  if model.num_categories < 2:
    raise ValueError(
        "config.model.num_categories must count background and at least one category, found "
        f"{model.num_categories}: call `with_categories(config, category_names)` first")
  keys = jax.random.split(key, 4)
  channels = features.make_backbone(model).channels
  backbones = ("features",) if model.share_features else BACKBONES
  return {
      **{name: features.init_features(own_key, model) for name, own_key in zip(
          backbones, jax.random.split(keys[0], len(backbones)), strict=True)},
      "box_stage": box_stage.init_box_stage(keys[1], model, channels),
      "mask_stage": mask_stage.init_mask_stage(keys[2], model, channels),
      "category_stage": category_stage.init_category_stage(keys[3], model, channels),
  }
