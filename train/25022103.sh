#!/usr/bin/env bash
# model_out_25022103: TTE on + 63% UNET, 1e-6 + 1e-5
# Session 2502: SDXL, 215c base, AdamW8bit, 6k dataset, 4GPU, BS1, Dual Tag (concat, a1111 token trick)
# Hardware: 4x RTX 3090 24 GB
# Steps: 6224 images x 10 epochs / (4 GPUs x 1 x 1) = 15560 optimizer steps
# Record: 15560 steps in 11.01 h, mean loss 0.10852; max_token_length was not set, so captions were cut at 75 tokens
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run
  --unet_percent=63
  --dual_tag=concat
  --token_chunks=a1111
  # model
  --pretrained_model_name_or_path="$BASE_215C"
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
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=1e-6
  --train_text_encoder
  --learning_rate_te1=1e-5
  --learning_rate_te2=1e-5
  --max_train_epochs=10
  --seed="$RUN"
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
