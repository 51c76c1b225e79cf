#!/usr/bin/env bash
# model_out_24121001: TTE on, 1e-5 + 1e-5
# Session 2412: SDXL, 215c base, AdamW8bit, 6k dataset, BS1, Single GPU, full UNET, tag only
# Hardware: 1x RTX 3090 24 GB
# Steps: 6224 images x 10 epochs / (1 GPU x 1 x 1) = 62240 optimizer steps
# Record: none
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-1}

flags=(
  # plugins
  --extensions=dual_tag,resume_at_step,save_states,on_nan,record_run
  --dual_tag=tags
  # model
  --pretrained_model_name_or_path="$BASE_215C"
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_6K"
  --train_data_dir="$DATA_6K"
  --caption_extension=.txt
  --enable_bucket
  --cache_latents
  --train_batch_size=1
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=1e-5
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
