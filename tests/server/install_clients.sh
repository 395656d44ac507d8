#!/usr/bin/env bash
# Makes a virtual environment with the clients of requirements.txt, or leaves it alone if it has just those. Exit code 77, which
# ctest takes for "skipped", if there is no package index to be reached; never under CI.
#
#   tests/server/install_clients.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$1
stamp="$venv/installed.txt"
exec {lock}>"$venv.lock"
flock "$lock" # somebody else may be at it
wanted=$(cat "$here"/requirements*.txt)
[ -f "$stamp" ] && [ "$wanted" = "$(cat "$stamp")" ] && exit 0

rm -rf "$venv"
python3 -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --no-input)
if ! "${pip[@]}" --only-binary :all: -r "$here/requirements.txt" ||
  ! "${pip[@]}" --only-binary :all: --no-deps -r "$here/requirements-no-deps.txt"; then
  echo "install_clients: the packages of tests/server/requirements.txt could not be installed; their tests need a package index" >&2
  [ -n "${CI:-}" ] && exit 1
  exit 77
fi
printf '%s\n' "$wanted" >"$stamp"
