#!/usr/bin/env bash
# Runs the tests and the linters on a fresh machine: creates .venv, installs, checks.
#   bash tools/test.sh                        all tests except those marked slow or nightly
#   bash tools/test.sh --all                  the slow tests too, as in CI: every path through the code
#   bash tools/test.sh --nightly              only tests marked nightly: the rest of large grids, before a release
#   bash tools/test.sh tests/media -k mp3     arguments go to pytest
# Compiled programs are kept between runs in ~/.cache/mmvideo/tests, or in MMVIDEO_TEST_CACHE.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh" dev

chosen=(-m "not slow and not nightly")
case "${1:-}" in
  --all) chosen=(-m "not nightly" --fail-slow 10); shift ;;
  --nightly) chosen=(-m nightly); shift ;;
esac

ruff check .
ruff format --check .
lint-imports
python -m pytest -n "${TEST_PROCESSES:-2}" --dist worksteal "${chosen[@]}" "$@"
