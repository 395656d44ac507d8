# The front door: `make run` and `make test` install what is missing (apt), configure, build and go. What they do is
# written in CMakePresets.json and tools/; this file only calls them. `make help` lists the rest.
#
#   PRESET=release|debug|clang|asan|tsan   what to build; each has its own folder build/<preset>
#   TESTS=regex                            which tests `make test` runs; default: all
#   TARGETS="a b"                          what `make build` builds; default: all
#   JOBS=n                                 compilers at once; default: one per core, but 2 GB of memory each
#   PREFIX=/usr/local, DESTDIR=            where `make install` puts things

PRESET ?= release
PREFIX ?= /usr/local
memory_jobs := $(shell awk '/MemAvailable/ { n = int($$2 / 2097152); print n ? n : 1 }' /proc/meminfo 2>/dev/null || echo 2)
JOBS ?= $(shell printf '%s\n' $$(nproc 2>/dev/null || echo 2) $(memory_jobs) | sort -n | head -n 1)

export CARGO_BUILD_JOBS ?= $(JOBS)

groups := build $(if $(filter clang asan tsan,$(PRESET)),clang)
dir := build/$(PRESET)

# The crates come first, so that no more than JOBS compilers run at once.
compile = cmake --build --preset $(PRESET) --target hadal_bridge_build && \
  cmake --build --preset $(PRESET) -j $(JOBS) $(if $(1),--target $(1)) \
  $(if $(filter release,$(PRESET)),&& ln -sfn release/cli/hadal build/hadal)

.PHONY: run test build lint format bench install clean configure deps help
.DEFAULT_GOAL := help

run: configure  ## build the binary, then a story from the built-in model
	@$(call compile,hadal)
	$(if $(filter release,$(PRESET)),build/hadal,$(dir)/cli/hadal) generate -p "Once upon a time" --echo --seed 3

test: groups += clients
test: configure  ## build, then every test (PRESET=asan, tsan, clang, debug as well)
	@$(if $(TESTS),,tests/server/install_clients.sh build/venv >build/venv.log 2>&1 &) # meanwhile; a test sees to it again
	@$(call compile,$(TARGETS))
	ctest --preset $(PRESET) -j $(JOBS) $(if $(TESTS),-R '$(TESTS)')

build: configure  ## binary, tests and benchmarks in build/<preset>; of the release preset, build/hadal
	@$(call compile,$(TARGETS))

configure: deps
	@cmake --preset $(PRESET) $(CMAKE_FLAGS) >build/configure.log || { cat build/configure.log; exit 1; }

deps:
	@mkdir -p build
	@tools/install_deps.sh $(groups)

lint: deps  ## clang-format, clang-tidy, cargo fmt, clippy, shellcheck; changes nothing
	@tools/install_deps.sh lint
	@tools/lint.sh

format: deps  ## rewrite the sources as clang-format and cargo fmt want them
	@tools/install_deps.sh lint
	@tools/lint.sh --fix

bench: build  ## the micro-benchmarks of bench/
	@for bench in $(dir)/bench/*_bench; do echo "== $$bench"; "$$bench" || exit 1; done

install: configure  ## the binary and its built-in model, under PREFIX
	@$(call compile,hadal)
	cmake --install $(dir) --prefix "$(PREFIX)"

clean:  ## everything that was built
	rm -rf build

help:
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST) | awk '{ printf "  %s %-8s", $$1, $$2; $$1 = $$2 = ""; print }'
