#!/usr/bin/env bash
# Passes the tests and the linters on a fresh machine: makes .venv, installs, checks.
#   bash tools/test.sh                        every test but those marked slow
#   bash tools/test.sh --all                  all of them, as CI does: learning on generated clips takes minutes
#   bash tools/test.sh tests/media -k mp3     arguments go to pytest
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

chosen=(-m "not slow")
if [ "${1:-}" = "--all" ]; then
  chosen=()
  shift
fi

ruff check .
ruff format --check .
lint-imports
python -m pytest -n "${TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "${chosen[@]}" "$@"
