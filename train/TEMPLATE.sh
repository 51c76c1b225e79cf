#!/usr/bin/env bash
# model_out_<run>: <one line for the logbook: what this run tries>
# Session <name>: <what the runs of the session share: model, base, optimizer, data, GPUs, tags, rates>
# Hardware: <GPUs and their memory>
# Steps: <images> images x <epochs> epochs / (<GPUs> GPUs x <batch> x <accumulation>) = <n> optimizer steps
# Record: none
# Copy this file to train/<YYMMDDnn>.sh; the file's name is the run's number and is written nowhere else.
# Delete what you do not use, these explanations too: a launcher states facts, one flag a line.
source "$(dirname "$0")/lib/launch.sh"

GPUS=${GPUS:-4}          # processes, one a GPU; GPUS=2 make train … overrides it
# RAMDISK=${RAMDISK:-1}  # copy base model, metadata and latents to RAMDISK_DIR first
# NUMA=${NUMA:-0}        # bind processes and memory to this NUMA node
# PARENT=25030802        # a segment: the run whose checkpoint it starts from

flags=(
  # plugins: nothing runs that is not listed; each plugin's own flags follow
  --extensions=unet_percent,dual_tag,token_chunks,timestep_draws,bf16_updates,recompute,resume_at_step,save_states,on_nan,bad_sample,record_run
  --unet_percent=71                # share of the U-Net that trains: 63, 68, 71 or 100
  --dual_tag=concat                # text of a sample: concat caption and tags, pick one, or tags only
  # --dual_tag_order=tags_first    # concat: caption_first when left out
  # --dual_tag_shuffle             # tags in a new order each time, after the first ones:
  # --dual_tag_keep_first=1
  # --dual_tag_drop_each_tag=0.1   # probabilities: each tag; all tags; the caption; the whole text
  # --dual_tag_drop_tags=0.1
  # --dual_tag_drop_caption=0.1
  # --caption_dropout_rate=0.1
  --token_chunks=a1111             # texts beyond 75 tokens in chunks; upstream: cut there, as the recorded runs did
  --timestep_draws=stratified      # an update's samples differ in their timesteps, evenly; upstream: all GPUs alike
  # --timestep_law=logit_normal    # docs/objectives.md; objective=flow needs the plugin objective
  --bf16_updates=stochastic        # under --full_bf16 rounding to nearest, as all recorded runs did, loses most
                                   # updates at these rates; docs/optimizers.md has the figures
  --recompute=auto                 # activations: keep what the card holds, compute the rest again; or GB, all, none
  --bad_sample=stop                # at corrupt latents; skip trains another image instead, from the start or on a resume
  # model: SD2 adds --v2 --v_parameterization --zero_terminal_snr --min_snr_gamma=5
  --pretrained_model_name_or_path="$BASE_255C"  # a segment: "$OUTPUT/model_out_$PARENT/at-step00010000.safetensors";
                                   # a blend, made by the first launch: "blend(base, 25022601, 0.5)"; docs/blends.md
  --tokenizer_cache_dir="$TOKENIZERS"
  # data
  --dataset_class=extensions.data.dataset.LatentsDataset
  --in_json="$META_6K"
  --train_data_dir="$DATA_6K"
  --caption_extension=.txt
  --enable_wildcard
  --enable_bucket
  --cache_latents
  --skip_cache_check               # trust the npz files instead of opening each one at the start
  --train_batch_size=1             # images a GPU and micro-step
  --max_data_loader_n_workers=8    # loader processes a GPU
  --persistent_data_loader_workers # keep them from epoch to epoch
  # optimizer: docs/optimizers.md lists them; e.g. Lion with --optimizer_args weight_decay=1e-2 (several values on
  # one line)
  --optimizer_type=AdamW8bit
  --learning_rate=1.5e-6           # U-Net; 0 trains the text encoders alone
  --train_text_encoder             # without it the text encoders stay as they are; drop the next two as well
  --learning_rate_te1=1.2e-5       # SD2 has one text encoder: --learning_rate_te
  --learning_rate_te2=1.2e-5
  --gradient_accumulation_steps=4  # micro-steps an optimizer step; 1 when left out
  --max_grad_norm=0                # 0 is no clipping; upstream clips at 1.0 when it is left out
  --max_train_epochs=10
  --seed="$RUN"
  --data_order=dealt               # an update's batches go to the GPUs by cost, so that none waits long; as_drawn: as in
                                   # the recorded runs
  # segment: all three are optimizer steps
  # --initial_step=10000
  # --skip_until_initial_step
  # --stop_at_step=40000
  # precision
  --full_bf16
  --mixed_precision=bf16
  # memory: --mem_eff_attn instead of --xformers where xformers is missing; leave --diffusers_xformers out,
  # for upstream then sets xformers on the VAE only and the U-Net goes without
  --xformers
  # output
  --output_dir="$OUTPUT/model_out_$RUN"
  --save_model_as=safetensors
  --save_precision=fp16
  --save_every_n_epochs=1          # or --save_every_n_steps=10000
  --log_with=tensorboard
  --log_prefix="just_astolfo_${RUN}_"
)
launch sdxl_train.py "${flags[@]}" # SD2: fine_tune.py
