# The verbs. Bare `make` prints them. Every verb sets itself up in .venv on first use.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
export PYTHON

.PHONY: help setup latents index check-data pack train batch chain tricks runs show diff plan plan-check parity \
	patched check-patches diff-upstream save-patches port-patches lint test test-all ramdisk-clean clean

help:
	@awk 'BEGIN {FS = " ## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.* ## / {sub(/:.*/, "", $$1); printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Training
train: $(INSTALLED) ## RUN=25022601 [PROFILE=tiny] [TRAINER=reference] [GPUS=n] [ARGS="--flag=x"] [RESUME=auto|parent] [FORCE=1] [DRY_RUN=1]; no RUN: list
	@if [[ -z "$(RUN)" ]]; then $(PYTHON) -m extensions.logbook runs; \
	else launcher="$$($(PYTHON) -m extensions.logbook path "$(RUN)")" && exec "$$launcher"; fi

runs: $(INSTALLED) ## all runs of the logbook, as a table
	@$(PYTHON) -m extensions.logbook runs

show: $(INSTALLED) ## RUN=25022601: one run's header, facts and flags
	@$(PYTHON) -m extensions.logbook show "$(RUN)"

diff: $(INSTALLED) ## A=25022501 B=25022601: the flags that differ
	@$(PYTHON) -m extensions.logbook diff "$(A)" "$(B)"

chain: $(INSTALLED) ## SESSION=2503c PROFILE=tiny [TRAINER=reference] [FORCE=1]: all segments, each from its parent's exact state; FORCE=1 (tiny alone) begins anew
	@$(PYTHON) -m extensions.logbook.chain "$(SESSION)"

batch: $(INSTALLED) ## RUN=25022601 STEP=123 [PROFILE=tiny]: the samples and texts that an optimizer step saw or will see
	@[[ -n "$(STEP)" ]] || { echo "error: give STEP=<optimizer step, from 1>" >&2; exit 2; }
	@launcher="$$($(PYTHON) -m extensions.logbook path "$(RUN)")" && STEP="$(STEP)" exec "$$launcher"

plan: $(INSTALLED) ## RUN=25022601 [GPUS=n] [ARGS="--flag=x"] [VRAM=24] [IMG_S=1.9] [IMAGES=n]: what it will cost
	@$(PYTHON) -m extensions.plan "$(RUN)"

plan-check: $(INSTALLED) ## the plan's memory model against every recorded reading
	@$(PYTHON) -m extensions.plan --check

## Data
latents: $(INSTALLED) ## IMAGES=… OUT=… MODEL=… [TEXTS=meta.json] [TAGS=.txt] [CAPTION=.caption] [BAD=skip] [JOBS=n]: images to latents
	@$(PYTHON) -m extensions.data.make.encode "$(IMAGES)" "$(OUT)" "$(MODEL)" $(if $(TEXTS),--texts="$(TEXTS)") \
	  --tags="$(or $(TAGS),.txt)" --caption="$(or $(CAPTION),.caption)" --bad="$(or $(BAD),stop)" --jobs="$(or $(JOBS),1)"

index: $(INSTALLED) ## META=meta_lat.json DATA=latents [OUT=x.index.arrow] [POLICY="duplicates=first missing=skip"] [EXCLUDE=corrupt.txt]: what a run maps
	@$(PYTHON) -m extensions.data.index "$(META)" --data="$(DATA)" --out="$(OUT)" --exclude="$(EXCLUDE)" $(addprefix --,$(POLICY))

check-data: $(INSTALLED) ## META=… DATA=… [JOBS=n] [OUT=folder]: open every latent; a report and the list corrupt.txt
	@$(PYTHON) -m extensions.data.make.check "$(META)" "$(DATA)" --jobs="$(or $(JOBS),1)" $(if $(OUT),--out="$(OUT)")

pack: $(INSTALLED) ## META=… DATA=… OUT=… [DTYPE=keep|float16|bfloat16] [BAD=skip] [JOBS=n] [SHARD_GB=4]: npz latents to one pack
	@$(PYTHON) -m extensions.data.pack "$(META)" "$(DATA)" "$(OUT)" --dtype="$(or $(DTYPE),keep)" \
	  --bad="$(or $(BAD),stop)" --jobs="$(or $(JOBS),1)" --shard-gb="$(or $(SHARD_GB),4)"

## Upstream and our patches
patched: $(INSTALLED) ## build sd-scripts-runtime/patched/ (only when pin or series changed)
	@$(PYTHON) -m extensions.upstream.patches build

check-patches: $(INSTALLED) ## each patch parses, is listed, has a reason, applies, exports unchanged
	@$(PYTHON) -m extensions.upstream.patches check

diff-upstream: $(INSTALLED) ## everything that we change in upstream
	@$(PYTHON) -m extensions.upstream.patches diff

save-patches: $(INSTALLED) ## commits made in sd-scripts-runtime/patched/ go back to patches/
	@$(PYTHON) -m extensions.upstream.patches save

parity: $(INSTALLED) ## sd-scripts and the reference trainer side by side: losses, weights, hook calls (some minutes)
	@$(PYTHON) -m tests.proofs.parity

tricks: $(INSTALLED) ## [TRICKS="zero dynamo"] prove the logbook's tricks at tiny size, each with both trainers (long)
	@$(PYTHON) -m tests.proofs.tricks $(TRICKS)

port-patches: $(INSTALLED) ## UPSTREAM=<ref>: try the series on another upstream commit
	@$(PYTHON) -m extensions.upstream.patches port "$(UPSTREAM)"

## The house
setup: $(INSTALLED) ## install everything into .venv (every verb does it by itself)

lint: $(INSTALLED) ## ruff and shellcheck
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/shellcheck -x train/*.sh train/lib/*.sh sd-scripts-runtime/configs/*.sh .ci/run

# Two at a time, a file together: the runs that a file's tests look at are trained once. In the order of the
# folders, which begins with the long end-to-end files: the short ones fill the end of both processes.
test: $(INSTALLED) ## the tests of every day
	@$(PYTHON) -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(INSTALLED) ## all tests, the 39 runs with each trainer among them (well over an hour)
	@$(PYTHON) -m pytest

ramdisk-clean: $(INSTALLED) ## remove what RAMDISK=1 has staged
	@if [[ -f sd-scripts-runtime/configs/env.sh ]]; then source sd-scripts-runtime/configs/env.sh; fi; \
	  $(PYTHON) -m extensions.launch.ramdisk

clean: ## remove the patched trees and the stand-ins; logs, models and outputs stay
	@rm -rf sd-scripts-runtime/{patched*,check-patches*,port-patches*,models/standins,datasets/standins}

# torch first and alone: its index pages are slow, and the rest then finds it installed.
$(INSTALLED): pyproject.toml
	@command -v $(BASE_PYTHON) > /dev/null || { echo "error: no $(BASE_PYTHON); install Python 3.10 to 3.12 or give BASE_PYTHON=" >&2; exit 2; }
	@$(BASE_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
	  || { echo "error: $(BASE_PYTHON) is not Python 3.10 to 3.12; give BASE_PYTHON=python3.11" >&2; exit 2; }
	@echo "setting up .venv (once; some minutes) …"
	@[[ -x $(PYTHON) ]] || $(BASE_PYTHON) -m venv .venv
	@$(PYTHON) -m pip install -qq --upgrade pip
	@$(PYTHON) -m pip install -qq "$$(grep -o 'torch==[0-9.]*' pyproject.toml | head -1)" "$$(grep -o 'torchvision==[0-9.]*' pyproject.toml)"
	@$(PYTHON) -m pip install -qq --editable '.[dev]'
	@touch $@
