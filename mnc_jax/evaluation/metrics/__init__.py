"""Scores of instances against ground truth, on the host, from COCO-format records."""

from mnc_jax.evaluation.metrics import boundary as boundary
from mnc_jax.evaluation.metrics import coco as coco
from mnc_jax.evaluation.metrics import voc as voc
from mnc_jax.evaluation.metrics.errors import classify_errors as classify_errors
from mnc_jax.evaluation.metrics.scoring import score_results as score_results
from mnc_jax.evaluation.metrics.tables import format_table as format_table
