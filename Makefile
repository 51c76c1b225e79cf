# The verbs. Bare `make` prints them. Every verb sets itself up in .venv on first use.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# What the caller gives is text: make would expand `$(…)` in it before the shell sees it, so it is taken as it stands.
# Recipes read it from the environment, as "$$NAME", and never write it into shell text.
$(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))), \
  $(eval override $(name) := $$(value $(name)))$(eval export $(name))))

BASE_PYTHON ?= python3
PYTHON := .venv/bin/python
# What is installed: to run, for stand-ins, for tests. Exact versions, each from its lock file.
INSTALLED := .venv/.installed
STANDINS := .venv/.standins
DEV := .venv/.dev
# Names of files and texts are UTF-8, whatever the locale says.
export PYTHONUTF8 := 1
# Nor may a git that a library calls fetch what a partial clone lacks: of a damaged one it would have no end.
export GIT_NO_LAZY_FETCH := 1
export PYTHON BASE_PYTHON
ifeq ($(value PROFILE),tiny)
RUNNING := $(STANDINS)
else
RUNNING := $(INSTALLED)
endif
# PYTHON=python3: that Python has what is needed, and nothing is installed.
CHECKING := $(if $(filter override,$(origin PYTHON)),,$(INSTALLED))

.PHONY: help setup latents index check-data pack train batch text-outputs chain tricks kills versions runs show diff plan plan-check ema blend scan parity proof \
	patched check-patches diff-upstream save-patches port-patches upgrade-upstream report compare watch card verify audit export upload lint test test-all lock ramdisk-clean clean gpu-check

help:
	@awk 'BEGIN {FS = " ## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z-]+:.* ## / {sub(/:.*/, "", $$1); printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Training
train: $(RUNNING) ## RUN=25022601 [PROFILE=tiny] [TRAINER=reference] [GPUS=n] [ARGS="--flag=x"] [RESUME=auto|parent] [FORCE=1] [DRY_RUN=1]; no RUN: list
	@if [[ -z "$${RUN-}" ]]; then "$$PYTHON" -m extensions.logbook runs; \
	else launcher="$$("$$PYTHON" -m extensions.logbook path -- "$$RUN")" && exec "$$launcher"; fi

runs: $(INSTALLED) ## all runs of the logbook, as a table
	@"$$PYTHON" -m extensions.logbook runs

show: $(INSTALLED) ## RUN=25022601: one run's header, facts and flags
	@"$$PYTHON" -m extensions.logbook show -- "$${RUN-}"

diff: $(INSTALLED) ## A=25022501 B=25022601: the flags that differ
	@"$$PYTHON" -m extensions.logbook diff -- "$${A-}" "$${B-}"

chain: $(RUNNING) ## SESSION=2503c PROFILE=tiny [TRAINER=reference] [FORCE=1]: all segments, each from its parent's exact state; FORCE=1 (tiny alone) begins anew
	@"$$PYTHON" -m extensions.logbook.chain "$${SESSION-}"

batch: $(RUNNING) ## RUN=25022601 STEP=123 [PROFILE=tiny]: the samples and texts that an optimizer step saw or will see
	@[[ -n "$${STEP-}" ]] || { echo "error: give STEP=<optimizer step, from 1>" >&2; exit 2; }
	@launcher="$$("$$PYTHON" -m extensions.logbook path -- "$${RUN-}")" && exec "$$launcher"

text-outputs: $(RUNNING) ## RUN=25112201 VARIANTS=4 [ARGS="--text_outputs=folder …"] [PROFILE=tiny]: what the text encoders give, for a run that trains none
	@[[ -n "$${VARIANTS-}" ]] || { echo "error: give VARIANTS=<texts of each image, from 1>" >&2; exit 2; }
	@launcher="$$("$$PYTHON" -m extensions.logbook path -- "$${RUN-}")" && exec "$$launcher"

plan: $(INSTALLED) ## RUN=25022601 [GPUS=n] [ARGS="--flag=x"] [VRAM=24] [IMG_S=1.9] [BUS=8] [IMAGES=n]: what it will cost
	@"$$PYTHON" -m extensions.plan -- "$${RUN-}"

ema: $(INSTALLED) ## RUN=25022601 LENGTH=0.07 [STEP=n] [OUT=x.safetensors]: a checkpoint of averaged weights, of any length from 0.02 to 0.25
	@"$$PYTHON" -m extensions.report.ema --step="$${STEP-}" --out="$${OUT-}" -- "$${RUN-}" "$${LENGTH-}"

plan-check: $(INSTALLED) ## the plan's memory model against every recorded reading
	@"$$PYTHON" -m extensions.plan --check

## To look at
report: $(INSTALLED) ## [RUN=25022601] [OUT=folder]: pages of all runs, without a server; RUN=: that run's anew
	@"$$PYTHON" -m extensions.report report --out="$${OUT-}" -- "$${RUN-}"

compare: $(INSTALLED) ## RUNS="25022501 25022601" [OUT=folder]: one page of runs against each other
	@"$$PYTHON" -m extensions.report compare --out="$${OUT-}" -- "$${RUNS-}"

watch: $(INSTALLED) ## RUN=25022601, or RUN=<a run folder>: progress, loss, speed against the plan, time left
	@"$$PYTHON" -m extensions.report watch --out="$${OUT-}" -- "$${RUN-}"

## To hand on
export: $(INSTALLED) ## RUN=25022601 [FORMAT=safetensors|diffusers] [DTYPE=fp16|bf16|fp32] [EMA=1|0.07] [CHECKPOINT=x.safetensors] [OUT=…] [VERIFY=0]: a model as others open it
	@"$$PYTHON" -m extensions.handing_on export --format="$${FORMAT-}" --dtype="$${DTYPE-}" --ema="$${EMA-}" \
	  --checkpoint="$${CHECKPOINT-}" --out="$${OUT-}" --verify="$${VERIFY-}" -- "$${RUN-}"

blend: $(INSTALLED) ## A=base B=25022601 RATIO=0.5 OUT=x.safetensors [C=…] [DTYPE=fp16] [PREDICTS=epsilon|v|v,ztsnr|flow]: (1 - RATIO) A + RATIO B, or A + RATIO (B - C)
	@"$$PYTHON" -m extensions.handing_on blend --a="$${A-}" --b="$${B-}" --c="$${C-}" --ratio="$${RATIO-}" --out="$${OUT-}" \
	  --dtype="$${DTYPE-}" --predicts="$${PREDICTS-}"

scan: $(INSTALLED) ## RUN=25022601 [RATIOS=0:1:0.1] [A=base B=…] [ARGS="--flag=x"] [OUT=folder]: validation and samples along the line from A to B; which ratio beats both ends
	@"$$PYTHON" -m extensions.handing_on scan --ratios="$${RATIOS-}" --a="$${A-}" --b="$${B-}" --out="$${OUT-}" -- "$${RUN-}"

upload: $(INSTALLED) ## RUN=25022601 REPO=user/name [FILE=… | FOLDER=…] [PRIVATE=1] [REALLY=1]: an export to the hub; says what it would do, and does it with REALLY=1
	@"$$PYTHON" -m extensions.handing_on upload --repo="$${REPO-}" --file="$${FILE-}" --folder="$${FOLDER-}" \
	  --private="$${PRIVATE-}" --really="$${REALLY-}" -- "$${RUN-}"

card: $(INSTALLED) ## RUN=25022601 [OUT=folder] [LICENCE=openrail++] [BASE_MODEL=owner/name] [PROMPTS=1]: a model card, as the hub takes one
	@"$$PYTHON" -m extensions.handing_on.card --out="$${OUT-}" --licence="$${LICENCE-}" --base-model="$${BASE_MODEL-}" \
	  --prompts="$${PROMPTS-}" -- "$${RUN-}"

verify: $(INSTALLED) ## RUN=25022601 [MODEL=x.safetensors]: the record against the files; can it be repeated here? Exit code 1 where something differs
	@"$$PYTHON" -m extensions.handing_on.verify --model="$${MODEL-}" -- "$${RUN-}"

audit: $(INSTALLED) ## [RUN=25022601] [OUT=x.md|x.csv]: logbook, recorded flags and logs, and launchers beside each other, and why a launcher is as it is
	@"$$PYTHON" -m extensions.handing_on.audit --out="$${OUT-}" -- "$${RUN-}"

gpu-check: $(CHECKING) ## [PYTHON=python3] [ARGS="--device=cpu --size=tiny"]: what holds on this machine's GPU, and what it gives: a JSON and a table (6 minutes)
	@read -ra words -d '' <<< "$${ARGS-}" || true; "$$PYTHON" -m benchmarks.gpu "$${words[@]}"

## Data
latents: $(INSTALLED) ## IMAGES=… OUT=… MODEL=… [TEXTS=meta.json] [TAGS=.txt] [CAPTION=.caption] [TEXT_ENCODING=utf-8] [IDS=path] [BACKGROUND=white] [MIN_SIDE=32] [MAX_ENLARGE=16] [BAD=skip] [JOBS=n]: images to latents
	@"$$PYTHON" -m extensions.data.make.encode $${TEXTS:+--texts="$$TEXTS"} --tags="$${TAGS-}" --caption="$${CAPTION-}" \
	  --text_encoding="$${TEXT_ENCODING-}" --ids="$${IDS:-name}" --background="$${BACKGROUND:-white}" \
	  --min_side="$${MIN_SIDE:-32}" --max_enlarge="$${MAX_ENLARGE:-16}" --bad="$${BAD:-stop}" --jobs="$${JOBS:-1}" \
	  -- "$${IMAGES-}" "$${OUT-}" "$${MODEL-}"

index: $(INSTALLED) ## META=meta_lat.json DATA=latents [OUT=x.index.arrow] [POLICY="duplicates=first missing=skip"] [EXCLUDE=corrupt.txt] [FIELDS=score]: what a run maps
	@read -ra policy -d '' <<< "$${POLICY-}" || true; \
	  "$$PYTHON" -m extensions.data.index --data="$${DATA-}" --out="$${OUT-}" --exclude="$${EXCLUDE-}" --fields="$${FIELDS-}" "$${policy[@]/#/--}" -- "$${META-}"

check-data: $(INSTALLED) ## META=… DATA=… [JOBS=n] [OUT=folder]: open every latent; a report and the list corrupt.txt
	@"$$PYTHON" -m extensions.data.make.check --jobs="$${JOBS:-1}" $${OUT:+--out="$$OUT"} -- "$${META-}" "$${DATA-}"

pack: $(INSTALLED) ## META=… DATA=… OUT=… [DTYPE=keep|float16|bfloat16] [BAD=skip] [JOBS=n] [SHARD_GB=4]: npz latents to one pack
	@"$$PYTHON" -m extensions.data.pack --dtype="$${DTYPE:-keep}" --bad="$${BAD:-stop}" --jobs="$${JOBS:-1}" \
	  --shard-gb="$${SHARD_GB:-4}" -- "$${META-}" "$${DATA-}" "$${OUT-}"

## Upstream and our patches
patched: $(INSTALLED) ## build sd-scripts-runtime/patched/ (only when pin or series changed)
	@"$$PYTHON" -m extensions.upstream.patches build

check-patches: $(INSTALLED) ## each patch parses, is listed, has a reason, applies, exports unchanged
	@"$$PYTHON" -m extensions.upstream.patches check

diff-upstream: $(INSTALLED) ## everything that we change in upstream
	@"$$PYTHON" -m extensions.upstream.patches diff

save-patches: $(INSTALLED) ## commits made in sd-scripts-runtime/patched/ go back to patches/
	@"$$PYTHON" -m extensions.upstream.patches save

parity: $(STANDINS) ## sd-scripts and the reference trainer side by side: losses, weights, hook calls (some minutes)
	@"$$PYTHON" -m tests.proofs.parity

tricks: $(DEV) ## [TRICKS="zero dynamo"] prove the logbook's tricks at tiny size, each with both trainers (long)
	@read -ra tricks -d '' <<< "$${TRICKS-}" || true; "$$PYTHON" -m tests.proofs.tricks "$${tricks[@]}"

kills: $(STANDINS) ## [SEED=1] [TRAINER=…] [PROCESSES=1|2] [KILLS=n]: tiny runs killed 160 times and resumed end as unbroken ones (long)
	@"$$PYTHON" -m tests.proofs.kills --seed="$${SEED:-1}" --trainer="$${TRAINER-}" --processes="$${PROCESSES:-0}" --kills="$${KILLS:-0}"

proof: $(DEV) ## [TRAINER=reference] [OUT=folder]: a small SDXL learns eight pictures by their texts; diffusers draws them (up to an hour)
	@"$$PYTHON" -m tests.proofs.proof $${TRAINER:+--trainer="$$TRAINER"} --out="$${OUT-}"

versions: $(DEV) ## [BOUND=lower|upper] [ONLY="transformers | torch==2.15.0 torchvision==0.30.0"] the suite's core on the bounds of pyproject.toml's ranges (needs uv; long)
	@"$$PYTHON" -m tests.proofs.versions "$${BOUND-}" "$${ONLY-}"

port-patches: $(INSTALLED) ## [UPSTREAM=<ref>]: try the series on another upstream commit; none: on those of patches/README.md, each with a tiny run (long)
	@"$$PYTHON" -m extensions.upstream.patches port -- "$${UPSTREAM-}"

upgrade-upstream: $(DEV) ## UPSTREAM=<ref>: move the pin in a branch: a commit, or a page of what stands against it (long)
	@"$$PYTHON" -m extensions.upstream.upgrade -- "$${UPSTREAM-}"

## The house
setup: $(INSTALLED) ## [TORCH=2.11.0 | TORCH=https://…/whl/cu126] install what running needs into .venv (every verb does it by itself)

lint: $(DEV) ## ruff, mypy and shellcheck
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/shellcheck -x train/*.sh train/lib/*.sh sd-scripts-runtime/configs/*.sh .ci/run

# Two at a time, a file together: the runs that a file's tests look at are trained once. In the order of the
# folders, which begins with the long end-to-end files: the short ones fill the end of both processes.
test: $(DEV) ## the tests of every day
	@"$$PYTHON" -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(DEV) ## all tests, the 59 runs with each trainer among them (well over an hour)
	@"$$PYTHON" -m pytest

ramdisk-clean: $(INSTALLED) ## remove what RAMDISK=1 has staged
	@ROOT="$$PWD"; source train/lib/machine.sh; refuse_tilde RAMDISK_DIR; "$$PYTHON" -m extensions.launch.ramdisk

clean: ## remove the patched trees, the stand-ins and what make versions installed; logs, models and outputs stay
	@rm -rf sd-scripts-runtime/{patched*,check-patches*,port-patches*,versions,models/standins,datasets/standins}

lock: ## [UPGRADE="name …"] write the lock files from the ranges of pyproject.toml; what they hold stays where it can (needs uv)
	@command -v uv > /dev/null || { echo "error: make lock needs uv: pip install uv" >&2; exit 2; }
	@$(COMPILE) pyproject.toml -o requirements.lock && sed -i -E '/^(nvidia-|cuda-|triton)/d' requirements.lock
	@$(COMPILE) --group pyproject.toml:standins -c requirements.lock -o extensions/standins/requirements.lock
	@$(COMPILE) --group pyproject.toml:dev -c requirements.lock -o tests/requirements.lock
	@sed -i -E '/^(nvidia-|cuda-|triton)/d' tests/requirements.lock

# For every Python that the project runs on; torch's own libraries are left to torch.
COMPILE = read -ra names -d '' <<< "$${UPGRADE-}" || true; \
  uv pip compile --universal --python-version 3.10 --no-header --no-annotate --quiet "$${names[@]/\#/--upgrade-package=}"

# torch first and alone: its index pages are slow, and the rest then finds it installed. TORCH: another version of it,
# or the address of an index of builds for another CUDA.
TORCH_WORDS = torch=("torch==$${TORCH-}" torchvision); case "$${TORCH-}" in \
  "") mapfile -t torch < <(grep -E '^torch(vision)?==' requirements.lock);; \
  *://*) torch=(torch torchvision --index-url "$$TORCH");; esac

$(INSTALLED): requirements.lock pyproject.toml
	@command -v "$$BASE_PYTHON" > /dev/null || { echo "error: no $$BASE_PYTHON; install Python 3.10 to 3.13 or give BASE_PYTHON=" >&2; exit 2; }
	@"$$BASE_PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
	  || { echo "error: $$BASE_PYTHON is not Python 3.10 to 3.13; give BASE_PYTHON=python3.11" >&2; exit 2; }
	@echo "setting up .venv (once; some minutes) …"
	@"$$PYTHON" -m pip --version > /dev/null 2>&1 || "$$BASE_PYTHON" -m venv --clear .venv \
	  || { echo "error: $$BASE_PYTHON makes no .venv; install its venv and pip (apt install python3-venv)" >&2; exit 2; }
	@"$$PYTHON" -m pip install -qq --upgrade pip \
	  || { echo "error: pip installs nothing: no network, or no room; then the same command again goes on" >&2; exit 2; }
	@$(TORCH_WORDS); "$$PYTHON" -m pip install -qq "$${torch[@]}"
	@grep -vE '^torch(vision)?==' requirements.lock > .venv/rest.lock && "$$PYTHON" -m pip install -qq -r .venv/rest.lock
	@"$$PYTHON" -m pip install -qq --no-deps --editable .
	@touch $@

$(STANDINS): $(INSTALLED) extensions/standins/requirements.lock
	@echo "setting up what stand-ins are made of (once) …"
	@"$$PYTHON" -m pip install -qq -r extensions/standins/requirements.lock
	@touch $@

$(DEV): $(STANDINS) tests/requirements.lock
	@echo "setting up what the tests need (once) …"
	@grep -vE '^torch(vision)?==' tests/requirements.lock > .venv/dev.lock && "$$PYTHON" -m pip install -qq -r .venv/dev.lock
	@touch $@
