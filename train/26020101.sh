#!/usr/bin/env bash
# model_out_26020101: no line in the logbook
# Session 2602: SDXL, VL-2.5EP base, AdamW8bit, 12.4M dataset, Dual Tag (concat, a1111 token trick), 4GPU, BS1, GA 4 step, RF with logit-normal(0,1) and timestep shift 3, TTE off, 1e-5
# Hardware: 4x RTX 3090 24 GB
# Steps: 6224 images x 50 epochs / (4 GPUs x 1 x 4) = 19450 optimizer steps
# Record: command only, OMP_NUM_THREADS=4, no result; no flag set a shift: --flow_uniform_shift acts with a uniform law, and the law was logit-normal, its default; --contrastive_flow_matching does nothing at one image a batch; max_token_length was not set, so captions were cut at 75 tokens
# Note: the base predicts v, which --change_prediction says is meant
# Note: the shift of 3 is the session's; --flow_shift=3 in the place of --timestep_shift=3 trains as recorded, and shifts samples alone
# Note: data, base and epochs are the recorded command's
# Note: no share of the U-Net is named; 100 as in 2511a's runs that leave the text encoders as they are
# Note: --pin_memory was recorded; upstream has no such flag
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}

flags=(
  # plugins
  --extensions=unet_percent,dual_tag,token_chunks,objective,timestep_draws,resume_at_step,save_states,on_nan,record_run
  --unet_percent=100
  --dual_tag=concat
  --token_chunks=a1111
  --objective=flow
  --timestep_draws=upstream
  --timestep_law=logit_normal
  --timestep_shift=3
  # model
  --pretrained_model_name_or_path="$OUTPUT/model_out_26011101/epoch-000008.safetensors"
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
  --learning_rate=1e-5
  --gradient_accumulation_steps=4
  --max_grad_norm=0
  --max_train_epochs=50
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
  --save_every_n_epochs=7
  --log_with=tensorboard
  --log_prefix="just_astolfo_${RUN}_"
)
launch sdxl_train.py "${flags[@]}"
