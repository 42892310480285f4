#!/usr/bin/env bash
# Passes the tests and the linters on a fresh machine: makes .venv, installs, checks.
# Arguments go to pytest: bash tools/test.sh tests/media -k mp3
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

ruff check .
lint-imports
python -m pytest -n "${TEST_PROCESSES:-2}" "$@"
