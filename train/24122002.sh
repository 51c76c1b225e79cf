#!/usr/bin/env bash
# model_out_24122002: 20 dataset, TTE only, 1e-5 + 1e-5
# Session 2412: SDXL, 215c base, AdamW8bit, 6k dataset, BS1, Single GPU, full UNET, tag only
# Hardware: 1x RTX 3090 24 GB
# Steps: 20 images x 10 epochs / (1 GPU x 1 x 1) = 200 optimizer steps
# Record: U-Net alone at 1e-6, 6k metadata; 31120 steps, then 5 epochs from epoch-000005-05.safetensors (31120 steps, mean loss 0.10793)
# Note: 'TTE only' leaves the U-Net's 1e-5 without a use; 10 epochs in one go, where the recorded run was restarted after epoch 5
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
  --in_json="$META_20"
  --train_data_dir="$DATA_20"
  --caption_extension=.txt
  --enable_bucket
  --cache_latents
  --train_batch_size=1
  --max_data_loader_n_workers=2
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=0
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
