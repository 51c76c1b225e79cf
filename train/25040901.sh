#!/usr/bin/env bash
# model_out_25040901: steps 240-320k out of 778k
# Session 2503c: SDXL, 255c base, AdamW8bit, 12.4M dataset, Dual Tag (concat, a1111 token trick), 4GPU, BS1, TTE on + 71% UNET + GA 4 step, 1.5e-6 + 1.2e-5
# Hardware: 4x RTX 3090 24 GB
# Steps: 12,446,6xx images x 1 epoch / (4 GPUs x 1 x 4) = 777917 optimizer steps; this segment: 240000 to 320000
# Record: command only, OMP_NUM_THREADS=4, log name of 25030801; max_token_length was not set, so captions were cut at 75 tokens
# Note: --pin_memory was recorded; upstream has no such flag
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}
PARENT=25040602

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,bad_sample,record_run
  --unet_percent=71
  --dual_tag=concat
  --token_chunks=a1111
  --bad_sample=stop
  # model
  --pretrained_model_name_or_path="$OUTPUT/model_out_$PARENT/at-step00240000.safetensors"
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_12M"
  --train_data_dir="$DATA_12M"
  --caption_extension=.txt
  --enable_wildcard
  --enable_bucket
  --cache_latents
  --skip_cache_check
  --train_batch_size=1
  --max_data_loader_n_workers=8
  --persistent_data_loader_workers
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=1.5e-6
  --train_text_encoder
  --learning_rate_te1=1.2e-5
  --learning_rate_te2=1.2e-5
  --gradient_accumulation_steps=4
  --max_grad_norm=0
  --max_train_epochs=1
  --seed=25030802
  # segment
  --initial_step=240000
  --skip_until_initial_step
  --stop_at_step=320000
  # precision
  --full_bf16
  --mixed_precision=bf16
  # memory
  --xformers
  --gradient_checkpointing
  # output
  --output_dir="$OUTPUT/model_out_$RUN"
  --save_model_as=safetensors
  --save_precision=fp16
  --save_every_n_steps=10000
  --log_with=tensorboard
  --log_prefix="just_astolfo_${RUN}_"
)
launch sdxl_train.py "${flags[@]}"
