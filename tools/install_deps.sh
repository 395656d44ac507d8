#!/usr/bin/env bash
# Installs by apt what is missing of the named groups (default: build). Nothing missing: a query of a tenth of a
# second, no root, no network. Groups: build, browser (the tests of the website), clang (the presets clang, asan, tsan), clients
# (the tests of the server by other programs), lint (make lint, make format).
#
#   tools/install_deps.sh [build|browser|clang|clients|lint]...
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
for group in "${@:-build}"; do
  case "$group" in
    build)
      packages+=(g++ cmake ninja-build ccache pkg-config python3 ca-certificates libcli11-dev libfmt-dev
        libspdlog-dev nlohmann-json3-dev libgtest-dev libbenchmark-dev libssl-dev libedit-dev
        libboost1.81-dev libsqlite3-dev prometheus-cpp-dev)
      # cargo and rustc: whatever is recent enough. Debian 12's own are older; its cargo-web follows Firefox's needs.
      tools/find_cargo.sh >/dev/null 2>&1 || packages+=(cargo-web rustc-web)
      # The website: any node of version 18 or newer, with its npm.
      node=$(node --version 2>/dev/null || true) node=${node#v}
      if [ "${node%%.*}" -lt 18 ] 2>/dev/null || [ -z "$node" ] || ! command -v npm >/dev/null 2>&1; then
        packages+=(nodejs npm)
      fi
      ;;
    browser) packages+=(chromium) ;;
    clang) packages+=(clang libclang-rt-14-dev) ;;
    clients) packages+=(python3-venv) ;;
    lint)
      packages+=(clang clang-format clang-tidy shellcheck)
      command -v rustup >/dev/null 2>&1 || packages+=(rustfmt-web)
      ;;
    *)
      echo "install_deps: no group '$group'; there are build, browser, clang, clients and lint" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "install_deps: no dpkg here. Needed, under their Debian names: ${packages[*]}" >&2
  exit 0 # CMake names what it cannot find
fi

installed=$(dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' 2>/dev/null |
  sed -n 's/\(:[a-z0-9]*\)\? installed$//p')
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "install_deps: neither root nor sudo. As root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "install_deps: installing ${missing[*]}" >&2
"${as_root[@]}" apt-get update -q </dev/null >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null >&2
