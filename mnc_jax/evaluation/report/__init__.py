"""The error browser: a static page of the images where a model is most wrong."""

from mnc_jax.evaluation.report.write import write_report as write_report
