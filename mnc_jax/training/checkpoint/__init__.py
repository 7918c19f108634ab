"""Checkpoints of a run, with all that is needed to resume it or to use the model.

    workdir/config.json                     the config of the last save
    workdir/checkpoints/<step>/params       weights, averaged with `train.average_decay`
                              /optimizer    step and optimiser state, and the trained weights if
                                            those above are averaged; absent if imported
                              /metadata     category names and ids, scores, notes

The position in the data is the step: batches are planned from seed and step alone.
"""

from mnc_jax.training.checkpoint.manager import open_checkpoints, remove_unfinished
from mnc_jax.training.checkpoint.read import (
    Categories,
    describe_source,
    has_optimizer,
    load_run,
    restore,
    restore_params,
    saved_notes,
    saved_scores,
)
from mnc_jax.training.checkpoint.write import (
    bytes_to_save,
    check_free,
    check_written,
    save,
    save_model,
    wait_until_written,
)

__all__ = (
    "Categories", "bytes_to_save", "check_free", "check_written", "describe_source",
    "has_optimizer", "load_run", "open_checkpoints", "remove_unfinished",
    "restore", "restore_params", "save", "save_model", "saved_notes", "saved_scores",
    "wait_until_written")
