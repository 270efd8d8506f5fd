# The front door: every target is one command of its own.
.PHONY: all help demo test lint asan bench fuzz mutants faults clean

all: ## build a release: build/release/holdfast
	cmake --preset release && cmake --build --preset release

help: ## show this
	@sed -n 's/^\([a-z]*\): ## /  make \1	/p' Makefile

demo: ## the main job, from nothing to its report
	scripts/demo

test: ## build with and without sanitizers, run every test, lint
	scripts/test

lint: ## clang-tidy over src/
	scripts/lint

asan: ## build with address and undefined-behaviour sanitizers
	cmake --preset sanitize && cmake --build --preset sanitize

fuzz: ## run every fuzz target for a minute (clang)
	tests/fuzz/run $(SECONDS)

mutants: ## remove each check in turn and demand that its test fails
	tests/mutants/run

faults: ## fail every system call and every allocation of every path in turn (an hour)
	tests/fault/run

bench: ## measure training against the machine's peak and against PyTorch
	bench/run

clean: ## remove what was built
	rm -rf build
