# Sourced by the scripts beside it: creates .venv if it does not exist and installs mmvideo into it.
# Usage: source tools/environment.sh [EXTRAS]   (for example: dev)
# PYTHON names the interpreter to use (3.11 or newer); the default is python3.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras="${1:-}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "mmvideo needs Python 3.11 or newer, and '$python' is not: set PYTHON to one, e.g. PYTHON=python3.12 bash $0" >&2
  exit 2
fi
if [ ! -x .venv/bin/python ]; then
  echo "── making .venv"
  rm -rf .venv
  "$python" -m venv .venv || { echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
fi
# The stamp is written last, so an interrupted installation is repeated.
stamp=".venv/installed-${extras:-core}"
if [ ! -f "$stamp" ] || [ setup.py -nt "$stamp" ]; then
  echo "── installing mmvideo${extras:+ with [$extras]} into .venv (about a minute)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}" || exit 1
  touch "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
# Huge pages for programs without mmvideo's command line, such as pytest; `mmvideo train` sets them for itself.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
