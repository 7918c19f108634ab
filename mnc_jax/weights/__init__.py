"""Weights other than checkpoints: ImageNet models, the authors' release, ours as one file."""

from mnc_jax.weights.conversion import MatchedWeights
from mnc_jax.weights.formats.files import open_file
from mnc_jax.weights.formats.lazy import Lazy
from mnc_jax.weights.formats.lazy import WeightsFile
from mnc_jax.weights.load import initialise_missing
from mnc_jax.weights.load import load_pretrained
from mnc_jax.weights.load import LoadReport
from mnc_jax.weights.load import match_file
from mnc_jax.weights.load import move_to_device
from mnc_jax.weights.metadata import read_categories
from mnc_jax.weights.metadata import read_config
from mnc_jax.weights.metadata import read_notes
from mnc_jax.weights.model_file import load_safetensors
from mnc_jax.weights.model_file import OWN_KIND
from mnc_jax.weights.model_file import read_metadata
from mnc_jax.weights.model_file import save_safetensors
from mnc_jax.weights.program_file import save_programs

__all__ = (
    "Lazy",
    "LoadReport",
    "MatchedWeights",
    "OWN_KIND",
    "WeightsFile",
    "initialise_missing",
    "load_pretrained",
    "load_safetensors",
    "match_file",
    "move_to_device",
    "open_file",
    "read_categories",
    "read_config",
    "read_metadata",
    "read_notes",
    "save_programs",
    "save_safetensors",
)
