# Short names for the steps of .ci/run, which holds the commands.
.DEFAULT_GOAL := help
.PHONY: help demo page test format setup fmt lint doc unit guest bare wasm fuzz web

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Linux's own driver, replayed; then 1 GiB unmapped four ways, with and without range invalidation
	@cargo run --release -q -p smmuv3-tests --bin demo

page: setup ## serve the page on http://127.0.0.1:4173
	@.ci/run web
	@cd web && npm run --silent serve

test: ## everything: format, lints, documentation, tests, bare metal, wasm, page
	@.ci/run all

format: ## rewrite the sources as rustfmt wants them
	@cargo fmt --all
	@cd fuzz && cargo fmt

setup: ## install what this machine lacks
fmt: ## is everything formatted
lint: ## clippy for every set of features
doc: ## documentation, with its warnings as errors
unit: ## the model's own tests and examples
guest: ## what a guest sees, transcripts included
bare: ## the model for four targets without std
wasm: ## the border to JavaScript, on wasm32
fuzz: ## replay the fuzz targets' seeds
web: ## the page's types, tests and build
setup fmt lint doc unit guest bare wasm fuzz web:
	@.ci/run $@
