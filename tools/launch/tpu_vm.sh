#!/usr/bin/env bash
# Runs `mmvideo train` on every host of a TPU slice made of TPU VMs.
#
#   bash tools/launch/tpu_vm.sh NAME ZONE RECIPE --workdir /shared/runs/NAME [--field.path VALUE …]
#
# The hosts need the repository with its .venv (extra `tpu`) in the same folder, FOLDER (default: mmvideo, in the home
# folder), and storage that all of them can access for workdir and corpus, such as a mounted bucket. Lines carry no host number:
# only process 0 shows progress. The command returns when all hosts have ended, and is the same for a resume.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: bash tools/launch/tpu_vm.sh NAME ZONE RECIPE --workdir DIR [--field.path VALUE …]" >&2
  exit 2
fi
name=$1 zone=$2
shift 2

command="cd $(printf %q "${FOLDER:-mmvideo}") && MMVIDEO_COORDINATOR=auto JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/mmvideo/jax"
command="$command exec .venv/bin/mmvideo train$(printf ' %q' "$@")"
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all --command "$command"
