#!/usr/bin/env bash
# model_out_25030403: ramdisk on, Single GPU. Speed reference.
# Session 2503a: SDXL, 255c base, AdamW8bit, 6k dataset, Dual Tag (concat, a1111 token trick), 4GPU, BS1, TTE on + 71% UNET + GA 4 step, 1.5e-6 + 1.2e-5
# Hardware: 1x RTX 3090 24 GB
# Steps: 6224 images x 10 epochs / (1 GPU x 1 x 4) = 15560 optimizer steps
# Record: command only, under numactl on node 0, seed and log name of 25030401; max_token_length was not set, so captions were cut at 75 tokens
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-1}
RAMDISK=${RAMDISK:-1}
NUMA=${NUMA:-0}

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run
  --unet_percent=71
  --dual_tag=concat
  --token_chunks=a1111
  # model
  --pretrained_model_name_or_path="$BASE_255C"
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_6K"
  --train_data_dir="$DATA_6K"
  --caption_extension=.txt
  --enable_wildcard
  --enable_bucket
  --cache_latents
  --train_batch_size=1
  --max_data_loader_n_workers=32
  --persistent_data_loader_workers
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=1.5e-6
  --train_text_encoder
  --learning_rate_te1=1.2e-5
  --learning_rate_te2=1.2e-5
  --gradient_accumulation_steps=4
  --max_grad_norm=0
  --max_train_epochs=10
  --seed=25030401
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
  --save_every_n_epochs=1
  --log_with=tensorboard
  --log_prefix="just_astolfo_${RUN}_"
)
launch sdxl_train.py "${flags[@]}"
