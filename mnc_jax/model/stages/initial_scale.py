"""The initial scale of layers that see the features of a backbone."""

from flax import linen as nn

from mnc_jax.config import ModelConfig

# Root mean square of conv5_3 with Caffe's weights: 4 to 10, with maxima of 170 to 306, on
# photographs of COCO; after max-pooling the upper end. Features of the others are about 1.
_FEATURE_RMS = {"vgg16": 10.0}


def feature_init(config: ModelConfig) -> nn.initializers.Initializer:
  """Returns an initialiser after which a layer on the backbone's features has outputs of about 1.

  It is LeCun's, which expects inputs of about 1, divided by the scale of the features. On VGG-16,
  fresh dense layers otherwise give logits of about 10, and SGD at the paper's rate diverges. With
  `config.normalize` outputs are normalised anyway, and with `config.pyramid_stride` the features
  are: it is LeCun's.
  """
  known = config.normalize or config.pyramid_stride
  rms = 1.0 if known else _FEATURE_RMS.get(config.backbone, 1.0)
  return nn.initializers.variance_scaling(rms**-2, "fan_in", "truncated_normal")
