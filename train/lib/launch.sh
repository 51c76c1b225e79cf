# shellcheck shell=bash
# The shared shell, with machine.sh. A launcher sources it, states its facts, and calls `launch <script> <flags…>`.
# What happens then is Python: extensions/launch/ (checks, run folder, log, exit code).
set -euo pipefail

# Of a closed one the next file that is opened would take the number, and be written to.
[[ -e /dev/fd/1 ]] || exec 1> /dev/null
[[ -e /dev/fd/2 ]] || exec 2> /dev/null

if (($#)); then
  printf 'error: %s takes no words, and was given %q; flags go into ARGS="%s"\n' "$0" "$1" '--flag=value' >&2
  exit 2
fi

# Names of files are UTF-8, whatever the locale says: manifests, states and checkpoints hold them as text.
export PYTHONUTF8=1
# A library's own git (wandb asks it) may not fetch what a partial clone of sd-scripts lacks: without end, of a damaged one.
export GIT_NO_LAZY_FETCH=1

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RUN=${RUN_NAME:-$(basename "$0" .sh)}

# Paths of this machine, where it says any; else the folders below are used.
# shellcheck source=train/lib/machine.sh
source "$ROOT/train/lib/machine.sh"
MODELS=${MODELS:-$ROOT/sd-scripts-runtime/models}
DATASETS=${DATASETS:-$ROOT/sd-scripts-runtime/datasets}
OUTPUT=${OUTPUT:-$ROOT/sd-scripts-runtime/output}
TOKENIZERS=${TOKENIZERS:-$ROOT/sd-scripts-runtime/models/tokenizers}

# Base models, by the alias of the logbook.
BASE_215C=${BASE_215C:-$MODELS/x215c-AstolfoMix-24101101-6e545a3.safetensors}
BASE_255B=${BASE_255B:-$MODELS/x255b-AstolfoMix-25022801-1458190.safetensors}
BASE_255C=${BASE_255C:-$MODELS/x255c-AstolfoMix-25022801-1458190.safetensors}
BASE_21B=${BASE_21B:-$MODELS/21b.safetensors}
BASE_AK_NIL=${BASE_AK_NIL:-$MODELS/x10a-AstolfoKarmix-25083001-3e3aea3.safetensors}
BASE_AC_NIL=${BASE_AC_NIL:-$MODELS/x11a-AstolfoCarmix-25110301-3e3aea3.safetensors}
BASE_AC_NOOBAI=${BASE_AC_NOOBAI:-$MODELS/x11a-AstolfoCarmix-25082501-3e3aea3.safetensors}
BASE_2EP=${BASE_2EP:-$MODELS/AstolfoXL-2EP.safetensors}
BASE_VL_2_5EP=${BASE_VL_2_5EP:-$MODELS/x1a-AstolfoVL-2_5ep.safetensors}
# Yours, for launchers that are copied from OWN.sh.
BASE_OWN=${BASE_OWN:-$MODELS/base.safetensors}

# Data sets: metadata JSON and the folder of <id>.npz latents beside it.
META_20=${META_20:-$DATASETS/20/meta_lat.json}
DATA_20=${DATA_20:-$DATASETS/20/latents}
META_6K=${META_6K:-$DATASETS/6k/meta_lat.json}
DATA_6K=${DATA_6K:-$DATASETS/6k/latents}
META_6K_SD2=${META_6K_SD2:-$DATASETS/6k_sd2/meta_lat.json}
DATA_6K_SD2=${DATA_6K_SD2:-$DATASETS/6k_sd2/latents}
META_12M=${META_12M:-$DATASETS/12.4M/meta_lat.json}
DATA_12M=${DATA_12M:-$DATASETS/12.4M/latents}
META_OWN=${META_OWN:-$DATASETS/own/meta_lat.json}
DATA_OWN=${DATA_OWN:-$DATASETS/own/latents}

refuse_tilde MODELS DATASETS OUTPUT TOKENIZERS LOGS RAMDISK_DIR BASE_215C BASE_255B BASE_255C BASE_21B BASE_OWN \
  BASE_AK_NIL BASE_AC_NIL BASE_AC_NOOBAI BASE_2EP BASE_VL_2_5EP \
  META_20 DATA_20 META_6K DATA_6K META_6K_SD2 DATA_6K_SD2 META_12M DATA_12M META_OWN DATA_OWN
export ROOT RUN OUTPUT
export BASE_215C BASE_255B BASE_255C BASE_21B BASE_OWN BASE_AK_NIL BASE_AC_NIL BASE_AC_NOOBAI BASE_2EP BASE_VL_2_5EP
export META_20 DATA_20 META_6K DATA_6K META_6K_SD2 DATA_6K_SD2 META_12M DATA_12M META_OWN DATA_OWN

# launch <script> <flags…>: hands the launcher's facts to extensions.launch and becomes it.
# LAUNCH_FACTS=1 prints them NUL-separated instead (make runs, make diff, the tests).
launch() {
  local facts=("GPUS=${GPUS:-1}" "PARENT=${PARENT:-}" "RAMDISK=${RAMDISK:-0}" "NUMA=${NUMA:-}"
    "SD_SCRIPTS_REF=${SD_SCRIPTS_REF:-}")
  if [[ -n ${LAUNCH_FACTS:-} ]]; then
    printf '%s\0' "$RUN" "${facts[@]}" "$@"
    return
  fi
  cd "$ROOT"
  # By a pipe: a flag may be a key, and what stands on a command line is in the process list.
  exec "${PYTHON:-$ROOT/.venv/bin/python}" -m extensions.launch < <(printf '%s\0' "$RUN" "${facts[@]}" "$@")
}
