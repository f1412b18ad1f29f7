# Short names for the steps of .ci/run, which holds the commands.
.DEFAULT_GOAL := help
.PHONY: help demo page test format bench bench-count bench-wasm setup fmt lint doc unit guest bare proof target big-endian
.PHONY: wasm web miri coverage fuzz fuzz-seeds fuzz-asan fuzz-minimise fuzz-planted

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job as a table, then the page on http://127.0.0.1:4173
	@.ci/run demo

page: ## build the page into web/dist
	@.ci/run page

test: ## everything: format, lints, documentation, tests, bare metal, wasm, page
	@.ci/run all

bench: ## times beside a straight IOTLB, and curves in target/bench.svg
	@.ci/run bench

bench-wasm: ## the same in Node and in Chromium, beside native
	@.ci/run bench_wasm

bench-count: ## instructions an operation, beside limits, peer, and what is committed; UPDATE=1 rewrites the latter
	@.ci/run bench_count

fuzz: ## fuzz every target for FUZZ_SECONDS (30): executions, coverage, findings
	@.ci/run fuzz_run

fuzz-asan: ## the same under AddressSanitizer, with a nightly toolchain
	@.ci/run fuzz_asan

fuzz-minimise: ## what fuzzing has added to the corpora, minimised and packed
	@.ci/run fuzz_minimise

fuzz-planted: ## are ten planted bugs found, within two minutes each
	@.ci/run fuzz_planted

fuzz-seeds: ## replay the fuzz targets' seeds and corpora
	@.ci/run fuzz

format: ## rewrite the sources as rustfmt wants them
	@cargo fmt --all
	@for folder in fuzz tests/linkproof tests/firmware tests/emulator; do (cd $$folder && cargo fmt); done

setup: ## install what this machine lacks
fmt: ## is everything formatted
lint: ## clippy for every set of features
doc: ## documentation, with its warnings as errors
unit: ## the model's own tests and examples
guest: ## what a guest sees, transcripts included
bare: ## the model for four targets without std
proof: ## no panic and no allocation can be reached: shown by the linker
target: ## the model on machines without an operating system, in emulators
big-endian: ## the model's own tests and every transcript on s390x
miri: ## the model's own tests in Miri, both byte orders; needs nightly
coverage: ## lines of the model that tests and fuzzing run, and a list of those that neither does
wasm: ## the border to JavaScript, on wasm32
web: ## the page's build, types, unit tests and tests in Chromium
setup fmt lint doc unit guest bare proof target big-endian wasm web miri coverage:
	@.ci/run $@
