#!/usr/bin/env bash
# learn: a small SDXL learns eight pictures by their texts (make proof)
# Session proof: SDXL of 25M parameters, AdamW, 8 pictures of 128x128, 1 CPU process, BS4
# Record: none
source "$(dirname "$0")/../../train/lib/launch.sh"

# What both ways to read the data share. PROOF: a folder that tests/proofs/pictures.py has filled.
flags=(
  # model
  --pretrained_model_name_or_path="$PROOF/base.safetensors"
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --enable_bucket
  --cache_latents
  --train_batch_size=4
  --max_data_loader_n_workers=0
  # optimizer
  --optimizer_type=AdamW
  --learning_rate=1e-3             # of a model that begins at random weights
  --lr_scheduler=cosine
  --lr_warmup_steps=50
  --max_grad_norm=1
  --max_train_steps="$PROOF_STEPS"
  --seed=1
  # precision
  --mixed_precision=no
  --save_precision=float
  --sdpa
  # output
  --output_dir="$OUTPUT/model_out_$RUN"
  --save_model_as=safetensors
)
if [[ -n ${UPSTREAMS_OWN:-} ]]; then
  # Upstream's own data set, from the pictures: its rule for a caption and tags, its cut of texts.
  flags+=(
    --in_json="$PROOF/upstream.json"
    --train_data_dir="$PROOF/pictures"
    --resolution=128
    --min_bucket_reso=128
    --enable_wildcard
  )
else
  flags+=(
    --extensions=dual_tag,token_chunks,resume_at_step,save_states,record_run
    --dataset_class=extensions.data.dataset.LatentsDataset
    --in_json="$PROOF/meta_lat.json"
    --train_data_dir="$PROOF/latents"
    --dual_tag=concat
    --token_chunks=a1111
    --states_every_n_steps="$((PROOF_STEPS / 2))"
  )
fi
launch sdxl_train.py "${flags[@]}"
