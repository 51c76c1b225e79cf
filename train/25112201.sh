#!/usr/bin/env bash
# model_out_25112201: eps mode again, 0-1EP. Works after merge
# Session 2511b: SDXL, AK-NIL-1.2 base, AdamW8bit, 12.4M dataset, 1EP, Dual Tag (concat, a1111 token trick), 4GPU, BS1, GA 4 step, v-pred + ZTSNR + min-SNR 5, 1.5e-6 + 1.2e-5
# Hardware: 4x RTX 3090 24 GB
# Steps: 12,446,6xx images x 1 epoch / (4 GPUs x 1 x 4) = 777917 optimizer steps
# Record: command only, OMP_NUM_THREADS=4, seed and log name of 25112101; max_token_length was not set, so captions were cut at 75 tokens
# Note: no share of the U-Net is named; 71 as in 2511a's runs that train the text encoders
# Note: merged it is the 2EP; 26011101 begins with half of it
# Note: --pin_memory was recorded; upstream has no such flag
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,bad_sample,record_run
  --unet_percent=71
  --dual_tag=concat
  --token_chunks=a1111
  --bad_sample=stop
  # model
  --pretrained_model_name_or_path="$BASE_AK_NIL"
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
  --seed=25112101
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
  --save_every_n_steps=11274
  --log_with=tensorboard
  --log_prefix="just_astolfo_${RUN}_"
)
launch sdxl_train.py "${flags[@]}"
