"""The options of every command. Their docstrings are what `mnc COMMAND --help` shows."""

import dataclasses
import pathlib
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from mnc_jax.cli.fields import (
  FLAT,
  File,
  Folder,
  LocalFile,
  LocalFiles,
  LocalFolder,
  ModelName,
  RunFolder,
  RunFolders,
)
from mnc_jax.config import Config
from mnc_jax.config.data import DatasetName

Format = Literal["pictures", "coco", "labels", "csv", "labelme", "video"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hosts:
  """Options that make this process one of several."""

  join_hosts: bool = False
  """Join the other hosts that the environment names: TPU pods, Slurm, Open MPI, Kubernetes. Start
  the same command on each host, with a workdir that all of them see."""
  coordinator: Annotated[str | None, arg(metavar="HOST:PORT")] = None
  """Address of process 0, where the environment names no hosts."""
  num_processes: int | None = None
  """Number of processes; with --coordinator."""
  process_id: int | None = None
  """Index of this process, from 0; with --coordinator."""
  dead_after: int = 100
  """Seconds without a sign of life from one host after which the others stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  """Trains the cascade, or resumes training from the last checkpoint in the workdir.

  Repeat the same command to resume. SIGTERM saves a checkpoint and stops.
  """

  config: Annotated[str, arg(metavar="NAME|FILE")]
  """A shipped configuration by name, or a Python file that defines get_config()."""
  workdir: RunFolder
  """Folder of the run, for checkpoints, logs and config.json. It may be in cloud storage
  (gs://), where it is not locked: make sure that no other run trains in it."""
  hosts: Annotated[Hosts, FLAT] = Hosts()
  experiment: Annotated[Config, FLAT] = Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
  """Options that name a trained model, and further ones that vote with it."""

  workdir: RunFolder | None = None
  """Folder of a training run, whose last checkpoint is used. Either this or --weights."""
  weights: Annotated[str | None, arg(metavar="NAME|FILE")] = None
  """A shipped model by name (nuclei, shapes), or a .safetensors file of mnc export."""
  ensemble: UseAppendAction[tuple[ModelName, ...]] = ()
  """A further model whose candidates vote together with those of the first: a shipped name, a
  workdir or a .safetensors file. It gets the same input. May be repeated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
  """Scores a model on the evaluation images of its data set.

  Computes the mAP^r of SDS, COCO's numbers for masks and boxes, and Boundary AP. Prints them per
  category, and writes them as evaluation.txt, .csv and .json.
  """

  model: Annotated[TrainedModel, FLAT] = TrainedModel()
  output: Folder | None = None
  """Folder for evaluation.txt, .csv and .json. Default: the workdir, or ./evaluation."""
  report: Folder | None = None
  """Folder for a web page, index.html, that shows the worst images and their errors."""
  report_images: int = 100
  """Largest number of images in the report."""
  report_min_score: float = 0.3
  """Instances below this score are not in the report."""
  results: File | None = None
  """File for the instances, as COCO results (.json), which mnc score reads."""
  max_results: int = 100
  """How many results per image and category COCO's numbers and Boundary AP count. More than COCO's
  100 where images have more instances."""
  hosts: Annotated[Hosts, FLAT] = Hosts()
  experiment: Annotated[Config, FLAT] = Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict:
  """Finds instances in images, in a video, or in what a camera films.

  Formats of --write:

    pictures  NAME.png, the image with masks, boxes, names and scores drawn
    coco      instances.json, COCO results with RLE masks
    labels    labels/NAME.png, 16 bits: 0 is background, i is instance i
    csv       instances.csv, score, area, centroid and box of each instance
    labelme   labelme/NAME.json and a copy of the image: polygons to correct
              by hand, and to train with
    video     NAME.mp4, the frames of the video with instances drawn
  """

  images: Annotated[Positional[LocalFiles], arg(metavar="IMAGE ...")] = ()
  """Image files, folders of them, quoted patterns such as "*.png" (** for any folders), or one
  video file. Options may stand before, between and after."""
  model: Annotated[TrainedModel, FLAT] = TrainedModel()
  output: Folder | None = None
  """Folder for what is written. Required, except with --self-check."""
  write: tuple[Format, ...] | None = None
  """One or more of the formats above. Default: pictures coco, or of a video and a camera video
  coco."""
  camera: int | None = None
  """Number of a camera, from 0, instead of images. Ctrl-C ends it."""
  max_frames: int = 0
  """Number of frames of a video or camera after which to stop. 0: at its end."""
  ground_truth: LocalFile | None = None
  """Annotation file of the images, in COCO format: instances.json has the image and category ids
  of this file, so that mnc score can compare them. Default: images are numbered from 0."""
  min_score: float = 0.5
  """Instances below this score are only in instances.json, which has all that reach
  --inference.min-score."""
  self_check: bool = False
  """Instead of images, run a small image stored with the weights, and compare what each stage
  computes with what it computed at export: tests the installation and the weights."""
  experiment: Annotated[Config, FLAT] = Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
  """Prepares a data set: reads, checks and writes it once, as mnc train then reads it.

  Layouts of --source:

    coco          [annotations/]instances_train*.json and instances_val*.json,
                  or a single .json of any name, which is split. The images of
                  instances_X.json are in X/, images/X/, images/ or the folder
                  itself; train/ and val/ are tried for train2017 and val2017.
                  Also exports of Roboflow, FiftyOne, CVAT, Label Studio and
                  Supervisely, YOLO segmentation (data.yaml), labelme and VIA.
    sbd           img/*.jpg, inst/*.mat, train.txt, val.txt (SBD, SDS), or a
                  VOCdevkit with VOC2012.
    label_images  images/*, labels/* [train.txt, val.txt]; each value in a label
                  image is an instance. Label images are .png, .tif or .npy,
                  called NAME, NAME_mask, NAME_masks or NAME_cp_masks.
    shapes        drawn; needs no source.
  """

  dataset: DatasetName | str
  """Layout of the source, and name of the set: data.dataset of a config."""
  source: LocalFolder | None = None
  """Folder of the data set; required except for shapes."""
  data_dir: LocalFolder = pathlib.Path("data")
  """Folder of all prepared sets: data.data_dir of a config."""
  exif: Literal["upright", "stored"] = "upright"
  """How images and label images with an EXIF orientation are read: upright, as viewers and
  labelling tools show them, or as stored. mnc train then needs the same as --data.exif."""
  page: int = 0
  """Page, counted from 1, of image files with several. mnc train then needs --data.page."""
  channels: tuple[int, ...] = ()
  """Channels of the images, counted from 1: one as grey or three as red, green and blue. mnc train
  then needs --data.channels."""
  allow_bad: bool = False
  """Prepare the set even if more than 1 % of its images or annotations have to be skipped."""
  split_components: bool = False
  """Make an instance of each connected part (8 neighbours) of each value of a label image, for
  foreground masks. Objects that touch become one. Only for label_images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
  """Scores any results file against a ground truth, both in COCO format.

  Masks are RLE (in the ground truth also polygons), boxes are [x, y, width, height]. Where file
  names in both files contradict the image ids, images are matched by file name.
  """

  protocol: Literal["sds", "coco", "boundary"]
  """sds: mAP^r and mAP^b at IoU .5 and .7. coco: the 12 numbers for masks and for boxes.
  boundary: the 12 numbers of Boundary AP."""
  ground_truth: LocalFile
  """Annotation file, as COCO's instances_*.json."""
  results: LocalFile
  """Results file, as COCO's results (.json)."""
  crowd_as_instances: bool = False
  """Whether crowd regions (iscrowd 1) of the ground truth are instances like any other."""
  max_results: int = 100
  """How many results per image and category coco and boundary count. More than COCO's 100 where
  images have more instances."""
  json: File | None = None
  """File for the scores."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plot:
  """Compares the losses and scores of runs on a web page.

  Reads metrics.jsonl of each run, which may still be training. The page has a chart per number with
  a line per run, the best validations, and the config fields in which the runs differ. Any browser
  opens it from the disk.
  """

  runs: Annotated[Positional[RunFolders], arg(metavar="RUN ...")] = ()
  """Folders of training runs, the --workdir of each, 1 to 8."""
  output: File = pathlib.Path("plot.html")
  """File to write (.html)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
  """Writes a trained model as one file.

  safetensors: weights, config, category names, the origin of the model, and the numbers for
  mnc predict --self-check. mnc import-weights, with the config and options of its training, makes
  an equal workdir of it.

  stablehlo: a .zip of the weights and of programs, one for each size of the network input, that run
  without this library, on CPUs, CUDA GPUs and TPUs, for any number of images. docs/deploy.md has
  the script that runs them.
  """

  workdir: RunFolder | None = None
  """Folder of a training run, whose last checkpoint is exported. Either this or --weights."""
  weights: Annotated[str | None, arg(metavar="NAME|FILE")] = None
  """A shipped model by name (nuclei, shapes), or a .safetensors file of mnc export."""
  output: LocalFile
  """File to write."""
  format: Annotated[str | None, arg(metavar="{safetensors,stablehlo}")] = None
  """What to write. Default: by the ending of the file, .safetensors, or .zip for stablehlo."""
  dtype: Literal["float32", "float16", "bfloat16"] = "float32"
  """Type that weights are rounded to (stablehlo: no bfloat16). They are computed with as
  float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportWeights:
  """Makes a workdir of pretrained weights, for mnc train, evaluate and predict.

  Reads VGG-16 (.npz, Keras .h5, torchvision or timm .safetensors and .pth, Caffe .caffemodel and
  .caffemodel.h5), ResNet-50 and -101 (torchvision or timm), the authors' released five-stage model,
  and models of mnc export. The kind is recognised by the content. What the source lacks is
  initialised at random, and listed.
  """

  source: Annotated[Positional[LocalFile], arg(metavar="SOURCE")]
  """File of weights."""
  config: Annotated[str, arg(metavar="NAME|FILE")]
  """A shipped configuration by name, or a Python file that defines get_config()."""
  output: RunFolder
  """Folder that becomes the workdir. It must have no checkpoints."""
  reset_categories: bool = False
  """Initialise the layers that depend on the categories, if the source has other ones."""
  only_backbone: bool = False
  """Load the shared features only."""
  categories: LocalFile | None = None
  """Category names: a text file with one name per line, without background, numbered from 1; or a
  COCO instances_*.json, with its ids. Default: those of the source, or else of the data set."""
  experiment: Annotated[Config, FLAT] = Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
  """Examines a training step whose loss or gradient was not finite.

  Training writes the batch of such a step to not_finite/ in the workdir. This repeats the steps
  from the last checkpoint up to it, and prints the step's losses per image, and which gradients are
  not finite.
  """

  batch: Annotated[Positional[File], arg(metavar="BATCH")]
  """File of the batch: WORKDIR/not_finite/step_N.npz."""
  workdir: RunFolder
  """Folder of the run."""


COMMANDS = {
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "prepare": Prepare,
    "score": Score,
    "plot": Plot,
    "export": Export,
    "import-weights": ImportWeights,
    "replay": Replay,
}

# Those that run a model.
COMPILING = frozenset(COMMANDS) - {"prepare", "score", "plot"}
