"""The state that a run starts with, or resumes from."""

import pathlib
import warnings

from flax.traverse_util import flatten_dict
import jax
from jax.sharding import Mesh
import orbax.checkpoint as ocp

from mnc_jax import weights
from mnc_jax.config import Config, ModelConfig
from mnc_jax.config.paths import as_local_path
from mnc_jax.config.validation import check_same_meaning
from mnc_jax.data import Source, checksum_images
from mnc_jax.model.backbones.features import make_backbone
from mnc_jax.model.backbones.pixels import PIXEL_PARAMETERS
from mnc_jax.model.backbones.resnet import DEPTHS, FROZEN_NORMS
from mnc_jax.model.parameters import init_params
from mnc_jax.training import checkpoint, run_folder
from mnc_jax.training.changes import (
  OF_STATES,
  OF_WEIGHTS,
  describe_changes,
  name_changes_in_errors,
)
from mnc_jax.training.optimizer import parameter_groups
from mnc_jax.training.parallel_step import place_state
from mnc_jax.training.step import TrainState, init_state

# Where weights trained on ImageNet can be had, in the kinds that `weights.load_pretrained` reads.
_PRETRAINED = {
    backbone: f" (https://huggingface.co/timm/{backbone}.tv_in1k has model.safetensors, "
              f"https://download.pytorch.org/models/{file} needs PyTorch)"
    for backbone, file in (("vgg16", "vgg16-397923af.pth"), ("resnet50", "resnet50-0676ba61.pth"),
                           ("resnet101", "resnet101-63fe2227.pth"))}


def start_state(config: Config, manager: ocp.CheckpointManager, source: Source, mesh: Mesh
                ) -> tuple[TrainState, dict]:
  """Returns the state to train from, on all devices of the mesh, and its notes.

  It is that of the last checkpoint of `manager`, or a new one if there is none.

  Raises:
    ValueError: if it is of step 0, but the workdir has the best state of an earlier run.
  """
  if not checkpoint.has_optimizer(manager):
    checkpoint.check_free(
        manager.directory.parent / "best", advice="this run starts from step 0, and must not be "
        "compared with an earlier one. Move the folder away, or give another --workdir")
  make = initialise if manager.latest_step() is None else resume
  state, notes = make(config, manager, source)
  notes["images"] = {"count": len(source), "checksum": checksum_images(source)}
  return place_state(state, config, mesh), notes


def initialise(config: Config, manager: ocp.CheckpointManager, source: Source
               ) -> tuple[TrainState, dict]:
  """Returns a new state, with random weights or those of `train.init_weights`, and its notes."""
  del manager  # It has no checkpoint.
  key = jax.random.key(config.train.seed)
  origin = "random weights"
  params = jax.eval_shape(lambda: init_params(key, config))
  if config.train.init_weights:
    file = as_local_path(config.train.init_weights, name="train.init_weights")
    params, report = weights.load_pretrained(
        params, file, config=config.model,
        reset_categories=config.train.init_reset_categories,
        only_backbone=config.train.init_only_backbone, category_names=source.category_names)
    print(report)
    check_frozen(report, params, config, file)
    for advice in advise_fresh_layers(report, config):
      warnings.warn(f"{file}: {advice}", stacklevel=2)
    origin = f"{report.kind}: {file.name}"
  else:
    check_fresh_start(config.model)
  return init_state(weights.initialise_missing(params, key, config), config), {"source": origin}


def check_frozen(report: weights.LoadReport, params: dict, config: Config,
                 path: pathlib.Path) -> None:
  """Raises if a file of weights lacks frozen layers of a backbone, which would stay random.

  Raises:
    ValueError: naming the first, and how it can be trained.
  """
  groups = flatten_dict(parameter_groups(params, config), sep="/")
  missing = [name for name in report.initialised if groups[name] == "frozen"
             and name.partition("/")[0].endswith("features")
             and name.rpartition("/")[2] not in PIXEL_PARAMETERS]
  if missing:
    raise ValueError(
        f"{path} lacks {len(missing)} arrays of frozen layers, such as "
        f"{missing[0]}: they would keep the numbers of a fresh model. Give a file that has them, "
        "or set --model.frozen-blocks 0 (of a ResNet also --model.backbone-norm group)")


def advise_fresh_layers(report: weights.LoadReport, config: Config) -> list[str]:
  """Returns warnings of layers that usually are pretrained, and that the weights do not have."""
  return [text for text in (advise_dense_layers(report, config), advise_conv5(report)) if text]


def advise_dense_layers(report: weights.LoadReport, config: Config) -> str:
  """Returns a warning if a VGG-16 starts without the dense layers that the paper starts from."""
  model, train = config.model, config.train
  missing = {"category_stage/fc6/kernel", "category_stage/fc7/kernel"} & set(report.initialised)
  if model.backbone != "vgg16" or model.normalize or model.pyramid_stride or not missing:
    return ""
  diverges = train.optimizer == "sgd" and not (train.warmup_steps and train.clip_norm)
  gentle = (". SGD may diverge from there: set --train.warmup-steps 500 --train.clip-norm 10"
            if diverges else "")
  return ("no fc6 and fc7 of VGG-16 are loaded, so the dense layers of stage 3 start from random "
          "weights: training takes longer, and scores below the paper's are to be expected. "
          f"torchvision's and Keras' files of VGG-16 have them{gentle}")


def advise_conv5(report: weights.LoadReport) -> str:
  """Returns a warning if conv5_x of a ResNet starts without its frozen normalisations."""
  if not any(name.startswith("category_stage/conv5") and name.split("/")[-2] in FROZEN_NORMS
             for name in report.initialised):
    return ""
  return ("conv5_x of stage 3 starts from random weights, and its frozen batch normalisations "
          "scale nothing: training takes longer. torchvision's and timm's files of a ResNet have "
          "it: load one without only-backbone, or set --model.backbone-norm group in a training "
          "from random weights")


def resume(config: Config, manager: ocp.CheckpointManager, source: Source
           ) -> tuple[TrainState, dict]:
  """Returns the state of the last checkpoint, of a run or of imported weights, and its notes."""
  workdir = manager.directory.parent
  saved = run_folder.read_config(workdir)
  check_same_meaning(saved.model, config.model, workdir)
  key = jax.random.key(config.train.seed)
  like = jax.eval_shape(lambda: init_state(init_params(key, config), config))
  if checkpoint.has_optimizer(manager):
    with name_changes_in_errors(saved, config, OF_STATES):
      state = checkpoint.restore(manager, like, categories=source)
    print(f"Resuming from the checkpoint of step {int(state.step)}"
          f"{describe_changes(saved, config, int(state.step))}.")
    warn_of_other_images(checkpoint.saved_notes(manager), source)
  elif config.train.init_weights:
    raise ValueError(f"{workdir} holds imported weights, but train.init_weights is "
                     f"{config.train.init_weights}: give another --workdir, or omit it")
  else:
    with name_changes_in_errors(saved, config, OF_WEIGHTS):
      params = checkpoint.restore_params(manager, like.params, categories=source)
    state = init_state(params, config)
    print("Starting from the imported weights of the workdir.")
  # The numbers of a self-check are only those of the imported weights.
  return state, {"source": checkpoint.saved_notes(manager).get("source", "unknown")}


def warn_of_other_images(notes: dict, source: Source) -> None:
  """Warns if the images of a run that resumes are not those that it had, by its `notes`."""
  before = notes.get("images")  # Absent up to 0.2.0.
  if before and before["checksum"] != checksum_images(source):
    warnings.warn(
        f"{source.name}: the {len(source)} images are not the {before['count']} that this run was "
        "trained on so far, or have other names or another order: it does not end as it would have "
        "without the interruption", stacklevel=4)


def check_fresh_start(model: ModelConfig) -> None:
  """Raises if frozen parts of the model would keep their random weights.

  Raises:
    ValueError: naming the part, where weights can be had, and what learns without.
  """
  where = _PRETRAINED.get(model.backbone, "")
  if model.backbone in DEPTHS and model.backbone_norm == "frozen_batch":
    raise ValueError(f"the batch normalisation of the {model.backbone} backbone is frozen, but "
                     f"it starts from random weights: give --train.init-weights FILE{where}, or "
                     "set --model.backbone-norm group --model.frozen-blocks 0")
  if make_backbone(model).blocks and model.frozen_blocks:
    raise ValueError(f"{model.frozen_blocks} blocks of the {model.backbone} backbone are frozen, "
                     f"but it starts from random weights: give --train.init-weights FILE{where}, "
                     "or set --model.frozen-blocks 0, which needs many more images and steps. "
                     "--config nuclei and --config shapes learn from random weights")
