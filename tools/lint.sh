#!/usr/bin/env bash
# Format, lint and naming rules: .clang-format, .clang-tidy, cargo fmt, clippy, shellcheck, python syntax. Changes
# nothing; with --fix it rewrites what the formatters can. clang-tidy remembers the files that were clean
# (build/lint), so that only what changed since, or everything after a header changed, is looked at again.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$(tools/find_cargo.sh):$PATH"
jobs=${JOBS:-$(nproc)}
crate=(--manifest-path bridge/Cargo.toml)

mapfile -t sources < <(find hadal cli tests fuzz bench bridge/include -name '*.cc' -o -name '*.h' | sort)
if [ "${1:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
  cargo fmt "${crate[@]}"
  exit 0
fi

step() { echo "== $*"; }

step "clang-format (${#sources[@]} files)"
clang-format --dry-run -Werror "${sources[@]}"

step "python"
python3 - tools tests <<'EOF'
import pathlib, sys
for folder in sys.argv[1:]:
    for file in sorted(pathlib.Path(folder).rglob("*.py")):
        compile(file.read_text(encoding="utf-8"), str(file), "exec")
EOF

step "shellcheck"
shellcheck tools/*.sh tests/*.sh .ci/run

step "cargo fmt"
cargo fmt "${crate[@]}" -- --check
if cargo clippy --version >/dev/null 2>&1; then
  step "clippy"
  CARGO_TARGET_DIR=build/bridge cargo clippy "${crate[@]}" --release --locked --quiet --all-targets -- -D warnings
else
  step "clippy: not with this cargo, left out"
fi

step "clang-tidy"
for preset in release asan; do cmake --preset "$preset" >/dev/null; done  # the groups, as the sources are now
mkdir -p build/lint
headers=$(find hadal cli bridge/include -name '*.h' -print0 | sort -z | xargs -0 cat .clang-tidy | sha256sum | cut -c1-16)
members() { sed -n 's/^#include "\(\/.*\.cc\)"/\1/p' "$@"; } # the sources of groups
tidy() { # hash of all headers, folder of the compile commands, source
  local mark
  mark=build/lint/$({ echo "$1 $3" && cat "$3" && members "$3" | xargs -r cat; } | sha256sum | cut -c1-32)
  [ -e "$mark" ] && return
  clang-tidy --quiet -p "$2" --extra-arg=-Wno-unknown-warning-option "$3" 2> >(grep -v ' warnings\? generated\.$' >&2) && touch "$mark"
}
export -f members tidy
# The layers as the sanitizers' build compiles them, eight sources at a time: what they include takes most of the time. The
# rest one by one. Not the tests: GoogleTest's macros take most of an analysis's time, and the compilers' warnings cover them.
mapfile -t groups < <(sed -n 's|^ *"file": "\(.*/unity_[^/]*\.cxx\)".*|\1|p' build/asan/compile_commands.json | sort)
grouped=$(members "${groups[@]}" | sed "s|^$PWD/||")
# shellcheck disable=SC2016  # the inner bash expands them
{
  printf 'build/asan %s\n' "${groups[@]}"
  printf '%s\n' "${sources[@]}" | grep '\.cc$' | grep -v '_test\.cc$' | grep -vxF "$grouped" | sed 's|^|build/release |'
} | xargs -P "$jobs" -L 1 bash -c 'tidy "$0" "$@"' "$headers"
echo "lint: clean"
