#!/usr/bin/env bash
# model_out_<run>: <one line for you: what this run tries>
# Session own: SDXL, own photographs, AdamW8bit, 1 GPU, BS1
# Hardware: 1x 24 GB
# Steps: <images> images x 10 epochs / (1 GPU x 1 x 4) = <n> optimizer steps
# Record: none
# Copy this file to train/<YYMMDDnn>.sh: the name is the run's number. TEMPLATE.sh explains every flag there is.
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-1} # processes, one a GPU

flags=(
  # plugins: nothing runs that is not listed; each plugin's own flags follow
  --extensions=unet_percent,dual_tag,token_chunks,bf16_updates,resume_at_step,save_states,on_nan,bad_sample,record_run
  --unet_percent=71                # share of the U-Net that trains; 100 needs more than 24 GB
  --dual_tag=concat                # text of a sample: caption and tags, where there are both
  --token_chunks=a1111             # texts of any length, as A1111 and ComfyUI read them
  --bf16_updates=stochastic        # bf16 weights do not lose small updates
  # model
  --pretrained_model_name_or_path="$BASE_OWN"
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_OWN"
  --train_data_dir="$DATA_OWN"
  --enable_bucket
  --cache_latents
  --train_batch_size=1             # images a micro-step
  --max_data_loader_n_workers=2
  --persistent_data_loader_workers
  # optimizer
  --optimizer_type=AdamW8bit
  --learning_rate=1.5e-6           # U-Net; 0 trains the text encoders alone
  --train_text_encoder             # without it the text encoders stay as they are; drop the next two as well
  --learning_rate_te1=1.2e-5
  --learning_rate_te2=1.2e-5
  --gradient_accumulation_steps=4  # micro-steps an optimizer step
  --max_grad_norm=0                # 0 is no clipping
  --max_train_epochs=10
  --seed="$RUN"
  # precision
  --full_bf16
  --mixed_precision=bf16
  # memory
  --sdpa
  --gradient_checkpointing
  # output
  --output_dir="$OUTPUT/model_out_$RUN"
  --save_model_as=safetensors
  --save_precision=fp16
  --save_every_n_epochs=5
  --log_with=tensorboard
)
launch sdxl_train.py "${flags[@]}"
