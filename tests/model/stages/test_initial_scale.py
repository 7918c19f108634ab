"""Fresh layers have outputs of about 1 on the features that they see."""

import jax
import numpy as np
import pytest

from mnc_jax.config import ModelConfig
from mnc_jax.model.stages import category_stage, mask_stage

CHANNELS = 64


@pytest.mark.parametrize(("fields", "rms"), [
    ({"backbone": "vgg16"}, 10.0), ({"backbone": "vgg16", "mask_head": "conv"}, 10.0),
    ({"backbone": "small"}, 1.0), ({"backbone": "vgg16", "normalize": True}, 1.0)])
def test_first_layers_fit_the_scale_of_the_features(fields, rms):
  """Conv5_3 of VGG-16 has rms 4 to 10; logits of a LeCun start on it were about 10."""
  config = ModelConfig(num_categories=3, dense_width=64, mask_hidden=32, **fields)
  categories = category_stage.init_category_stage(jax.random.key(0), config, CHANNELS)
  masks = mask_stage.init_mask_stage(jax.random.key(1), config, CHANNELS)
  first = masks["conv1" if config.mask_head == "conv" else "reduce"]
  for layer in (categories["fc6"], categories["fc6_mask"], first):
    kernel = np.asarray(layer["kernel"])
    fan_in = kernel[..., 0].size
    np.testing.assert_allclose(rms * kernel.std() * fan_in**0.5, 1, rtol=0.05)
  fc7 = np.asarray(categories["fc7"]["kernel"])
  np.testing.assert_allclose(fc7.std() * 8, 1, rtol=0.05)
