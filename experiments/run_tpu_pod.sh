#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice: starts the same command on each of its hosts.
#   experiments/run_tpu_pod.sh TPU_NAME ZONE --config NAME --workdir DIR [--section.field VALUE ...]
# mnc_jax[tpu] must be installed on each host. The data must be on a disk that all hosts mount, the
# workdir too, or in a bucket (gs://). After a preemption the same command resumes.
set -euo pipefail
if (( $# < 4 )); then
  sed -n '2,5p' "$0" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
# `printf %q` keeps spaces and quotes in the arguments as they are.
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "
  exec python3 -m mnc_jax train --join-hosts $(printf '%q ' "$@")"
