"""Data sets, and the pipeline from them to batches. Knows only config, structs and coco."""

from mnc_jax.data.image_files import list_images as list_images
from mnc_jax.data.image_files import make_image_batch as make_image_batch
from mnc_jax.data.images import decode_image as decode_image
from mnc_jax.data.images import read_image as read_image
from mnc_jax.data.load import load_categories as load_categories
from mnc_jax.data.load import load_source as load_source
from mnc_jax.data.load import prepare as prepare
from mnc_jax.data.load import warn_of_shared_images as warn_of_shared_images
from mnc_jax.data.pipeline.batches import count_evaluation_batches as count_evaluation_batches
from mnc_jax.data.pipeline.batches import evaluation_batches as evaluation_batches
from mnc_jax.data.pipeline.batches import training_batches as training_batches
from mnc_jax.data.prepared.index import read_index as read_index
from mnc_jax.data.prepared.index import set_folder as set_folder
from mnc_jax.data.prepared.summary import summarize as summarize
from mnc_jax.data.reader_names import DATASETS as DATASETS
from mnc_jax.data.reader_names import register_reader as register_reader
from mnc_jax.data.records import BrokenImageError as BrokenImageError
from mnc_jax.data.records import Record as Record
from mnc_jax.data.records import Source as Source
from mnc_jax.data.records import checksum_images as checksum_images
from mnc_jax.data.records import make_ground_truth as make_ground_truth
from mnc_jax.data.records import restrict as restrict
