#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice: starts the same command on each of its hosts.
#   experiments/run_tpu_pod.sh TPU_NAME ZONE --config NAME --workdir DIR [--section.field VALUE ...]
# mnc_jax[tpu] must be installed on each host, for its python3 or, with PYTHON=.venv/bin/python before
# this command, in that environment of its home. The data must be on a disk that all hosts mount, or
# prepared in cloud storage (gs://), as the workdir may be. After a preemption the same command resumes.
# The training goes on if this connection ends: each host writes to mnc_train_TIME.log in its home.
# SIGTERM at the process on one host (pkill -TERM -f mnc_jax) makes all of them save and end.
set -euo pipefail
if (( $# < 4 )); then
  sed -n '2,8p' "$0" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
# `printf %q` keeps spaces and quotes in the arguments as they are.
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker all --command "
  log=mnc_train_\$(date +%Y%m%d_%H%M%S).log
  touch \$log
  nohup $(printf %q "${PYTHON:-python3}") -m mnc_jax train --join-hosts $(printf '%q ' "$@") >>\$log 2>&1 </dev/null &
  tail -n +1 -f --pid=\$! \$log
  wait \$!"
