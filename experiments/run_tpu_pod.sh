#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice: starts the same command on every host of it.
#   experiments/run_tpu_pod.sh TPU_NAME ZONE --config FILE --workdir DIR [--section.field VALUE ...]
# mnc_jax[tpu] must be installed in ~/mnc_jax on each host, and the data and the workdir must lie
# on a file system that all of them mount. Run again after a preemption, it goes on.
set -euo pipefail
if (( $# < 4 )); then
  sed -n '2,5p' "$0" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
# `printf %q` keeps spaces and quotes in the arguments as they are.
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "
  cd ~/mnc_jax && exec python3 experiments/train.py --join-hosts $(printf '%q ' "$@")"
