#!/usr/bin/env bash
# Prints the folder of the first cargo that is at least as new as bridge/Cargo.toml's rust-version: from the PATH,
# ~/.cargo/bin or /usr/bin. Exit code 1 when there is none.
set -euo pipefail
cd "$(dirname "$0")/.."
needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' bridge/Cargo.toml)

IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}" "${HOME:-/root}/.cargo/bin" /usr/bin; do
  if [ ! -x "$folder/cargo" ] || [ ! -x "$folder/rustc" ]; then continue; fi
  found=$("$folder/rustc" --version 2>/dev/null | cut -d' ' -f2) || continue
  if [ -n "$found" ] && printf '%s\n' "$needed" "$found" | sort -V -C; then
    echo "$folder"
    exit 0
  fi
done
echo "find_cargo: no cargo and rustc of version $needed or newer; see https://rustup.rs or Debian's cargo-web" >&2
exit 1
