# shellcheck shell=bash disable=SC2034
# Where this machine keeps its files. Copy to env.sh (ignored by git) and edit:
#   cp sd-scripts-runtime/configs/env.example.sh sd-scripts-runtime/configs/env.sh
# train/lib/launch.sh reads env.sh; what is left out falls back to folders below sd-scripts-runtime/.
# Every line is NAME=${NAME:-value}, so that a variable given on the command line wins over this file.
# $ROOT is the repository. Spaces in paths are fine.

# --- folders ------------------------------------------------------------------------------------

# Base models; the tokenizers are built below it on first use, so no hub is needed.
MODELS=${MODELS:-$ROOT/sd-scripts-runtime/models}
TOKENIZERS=${TOKENIZERS:-$MODELS/tokenizers}

# Metadata and latents.
DATASETS=${DATASETS:-$ROOT/sd-scripts-runtime/datasets}

# Checkpoints, one folder model_out_<run> a run. About 7 GB each; a production run writes 78 of them.
OUTPUT=${OUTPUT:-$ROOT/sd-scripts-runtime/output}
# Run folders (record, log, metrics) go to sd-scripts-runtime/logs/train/ unless this names another place.
# export LOGS="/run/media/user/Intel P4510 3/logs"

# Where RAMDISK=1 copies base model, metadata and latents before the start. Mount a tmpfs here; it must
# hold all three (the 6k dataset with its base model: about 9 GB).
export RAMDISK_DIR=${RAMDISK_DIR:-/dev/shm/sd-scripts}

# --- base models, by the alias of the logbook ----------------------------------------------------

# SDXL, session 2412 and 2502.
BASE_215C=${BASE_215C:-$MODELS/x215c-AstolfoMix-24101101-6e545a3.safetensors}
# SDXL, run 25030301 only.
BASE_255B=${BASE_255B:-$MODELS/x255b-AstolfoMix-25022801-1458190.safetensors}
# SDXL, sessions 2503a, 2503b and 2503c (the first segment; later ones start from their parent).
BASE_255C=${BASE_255C:-$MODELS/x255c-AstolfoMix-25022801-1458190.safetensors}
# An SD2.1 fine-tune with v-prediction, runs 24122001 and 24122101. The recorded commands name
# epoch-000005-05.safetensors and epoch-000001-01.safetensors, upstream's names for a save after an epoch
# (by the step counts, the runs' own, from before a restart). The base's own name is not recorded: give yours.
BASE_21B=${BASE_21B:-$MODELS/21b.safetensors}
# SDXL, AK-NIL-1.2 of sessions 2511a and 2511b; predicts noise.
BASE_AK_NIL=${BASE_AK_NIL:-$MODELS/x10a-AstolfoKarmix-25083001-3e3aea3.safetensors}
# SDXL, AC-NIL-0.1 of runs 25111301 and 25111501; predicts v.
BASE_AC_NIL=${BASE_AC_NIL:-$MODELS/x11a-AstolfoCarmix-25110301-3e3aea3.safetensors}
# SDXL, AC-NoobAI-1.0 of run 25111202; predicts v.
BASE_AC_NOOBAI=${BASE_AC_NOOBAI:-$MODELS/x11a-AstolfoCarmix-25082501-3e3aea3.safetensors}
# SDXL, 2EP of run 26011001; predicts noise. AK-Evo-2EP (25112201-2ep-50), which 26011101 begins with, and AC-NIL-0.11
# (25111701h-05-10k-75) of 25112101 are blends that their launchers name: the first launch makes them (docs/blends.md).
BASE_2EP=${BASE_2EP:-$MODELS/AstolfoXL-2EP.safetensors}
# SDXL, VL-2.5EP of run 26022301; predicts v.
BASE_VL_2_5EP=${BASE_VL_2_5EP:-$MODELS/x1a-AstolfoVL-2_5ep.safetensors}

# --- datasets: metadata JSON, and the folder of <id>.npz latents, or a pack of them (make pack) -----

# 20 images, for a first try of the whole way.
META_20=${META_20:-$DATASETS/20/meta_lat.json}
DATA_20=${DATA_20:-$DATASETS/20/latents}
# 6,224 images, SDXL latents.
META_6K=${META_6K:-$DATASETS/6k/meta_lat.json}
DATA_6K=${DATA_6K:-$DATASETS/6k/latents}
# The same images for SD2, whose latents and buckets differ.
META_6K_SD2=${META_6K_SD2:-$DATASETS/6k_sd2/meta_lat.json}
DATA_6K_SD2=${DATA_6K_SD2:-$DATASETS/6k_sd2/latents}
# 12.4M images, SDXL latents; the JSON alone is 14 GB, its index (make index) goes beside it and has another 9.
META_12M=${META_12M:-$DATASETS/12.4M/meta_lat.json}
DATA_12M=${DATA_12M:-$DATASETS/12.4M/latents}

# --- your own, for launchers that are copied from train/OWN.sh ---------------------------------------

BASE_OWN=${BASE_OWN:-$MODELS/base.safetensors}
META_OWN=${META_OWN:-$DATASETS/own/meta_lat.json}
DATA_OWN=${DATA_OWN:-$DATASETS/own/latents}
