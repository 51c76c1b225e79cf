#!/usr/bin/env bash
# model_out_25111201: TTE off + 100% UNET, min-SNR off, 1.5e-6. Failure: blurred images
# Session 2511a: SDXL, AK-NIL-1.2 base, AdamW8bit, 6k dataset, 10EP, Dual Tag (concat, a1111 token trick), 4GPU, BS1, GA 4 step, v-pred + ZTSNR + min-SNR 5
# Hardware: 4x RTX 3090 24 GB
# Steps: 6224 images x 10 epochs / (4 GPUs x 1 x 4) = 3890 optimizer steps
# Record: command only, OMP_NUM_THREADS=4; max_token_length was not set, so captions were cut at 75 tokens
# Note: the base predicts noise, which --change_prediction says is meant
# Note: --pin_memory was recorded; upstream has no such flag
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run
  --unet_percent=100
  --dual_tag=concat
  --token_chunks=a1111
  # model
  --pretrained_model_name_or_path="$BASE_AK_NIL"
  --v_parameterization
  --zero_terminal_snr
  --change_prediction
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_6K"
  --train_data_dir="$DATA_6K"
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
  --gradient_accumulation_steps=4
  --max_grad_norm=0
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
