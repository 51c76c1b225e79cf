"""Trains, top to bottom: batch, text, latents, noise, U-Net, loss, backward, optimizer step, log, save."""

import math

import torch
from accelerate.utils import set_seed
from tqdm import tqdm

from extensions import loop, manager
from extensions.flags import settings
from extensions.model import diffusion
from extensions.model.diffusion import LATENT_SCALE
from extensions.reference import calls, data, engine, log, models, noise, optimizers, saves, text
from extensions.reference.recompute import recompute
from extensions.trainer import base_model, hook_points


def train(args, family: str) -> None:
    """Train the run that the flags describe. UserError for what the user can mend."""
    base_model.check_args(args, family)
    if args.seed is not None:
        set_seed(args.seed)
    run = Training(args, family)
    run.prepare()
    run.loop()


class Training:
    """One run on one process: `prepare` builds everything, `loop` trains."""

    def __init__(self, args, family: str):
        self.args, self.family = args, family
        self.dataset = data.dataset(args)
        self.text = text.Text(family, args.tokenizer_cache_dir, args.clip_skip, args.max_token_length)
        self.dataset.tokenize_strategy = self.text
        self.accelerator = engine.accelerator(args)
        hook_points.accelerator_made(args, self.accelerator)
        self.dtype = engine.DTYPES[args.mixed_precision]
        self.rates = settings.of_args(args).rates
        self.schedule = diffusion.scheduler(args.zero_terminal_snr)
        self.timesteps = settings.timestep_range(args)

    def prepare(self) -> None:
        """Models, optimizer, loader and schedule, in the order in which upstream draws random numbers."""
        args, accelerator = self.args, self.accelerator
        self.load()
        trained = {name: model for name, model in self.models.named().items() if name in self.rates}
        self.ready(trained)
        groups = [{"params": list(trained[name].parameters()), "lr": rate} for name, rate in self.rates.items()]
        groups = hook_points.choose_parameters(self.models, groups)
        self.group_names = log.group_names(self.models, groups)
        optimizer = optimizers.optimizer(args, groups)
        hook_points.optimizer_built(self.models, optimizer)
        loader = data.loader(args, self.dataset, accelerator)
        if args.max_train_epochs is not None:
            steps = len(loader) / accelerator.num_processes / args.gradient_accumulation_steps
            args.max_train_steps = args.max_train_epochs * math.ceil(steps)
        lr_scheduler = optimizers.lr_scheduler(args, optimizer, accelerator.num_processes)
        if args.full_bf16:
            for model in self.models.named().values():
                model.to(self.dtype)
        if self.family == "sdxl" and "text encoder 1" in trained:
            # Only its penultimate state is used: these get no gradient, and DDP would wait for one.
            inner = self.models.text_encoders[0].text_model
            inner.encoder.layers[-1].requires_grad_(False)
            inner.final_layer_norm.requires_grad_(False)
        others = (optimizer, loader, lr_scheduler)
        wrapped, self.trained, others = engine.prepare(args, accelerator, trained, others)
        self.optimizer, self.loader, self.lr_scheduler = others
        callable_by_name = self.models.named() | wrapped
        self.unet = callable_by_name.pop("U-Net")
        self.encoders = list(callable_by_name.values())
        self.models.calls = calls.calls_of(self)

    def load(self) -> None:
        """Read the models, one process after the other: four at once would need four times the memory."""
        accelerator = self.accelerator
        for process in range(accelerator.num_processes):
            if process == accelerator.local_process_index:
                unet_dtype = self.dtype if self.args.full_bf16 else torch.float32
                loaded = models.load(self.args.pretrained_model_name_or_path, self.family, unet_dtype)
                for model in loaded.models.named().values():
                    model.to(accelerator.device)
            accelerator.wait_for_everyone()
        self.models, self.saver = loaded.models, saves.Saver(self.args, loaded)
        manager.current().hook.models_loaded(models=self.models)

    def ready(self, trained: dict) -> None:
        """Train or freeze each model, in train or eval mode and in its dtype."""
        engine.attention(self.args, self.models.unet)
        for name, model in self.models.named().items():
            model.requires_grad_(name in trained)
            model.train(name in trained)
            if name not in trained:
                model.to(self.dtype)
        if self.args.gradient_checkpointing:
            recompute(self.models.unet, self.models.text_encoders)

    def loop(self) -> None:
        """Train to --max_train_steps optimizer steps and save."""
        args, accelerator = self.args, self.accelerator
        epochs = math.ceil(args.max_train_steps / math.ceil(len(self.loader) / args.gradient_accumulation_steps))
        bar = tqdm(total=args.max_train_steps, smoothing=0, disable=not accelerator.is_local_main_process)
        steps = loop.begin(args, accelerator, self.optimizer, self.lr_scheduler, self.loader, bar)
        log.begin(accelerator, args)
        average = log.Average(len(self.loader))
        for epoch in loop.epochs(epochs):
            accelerator.print(f"\nepoch {epoch + 1}/{epochs}")
            for batch in loop.batches(self.loader, epoch):
                with accelerator.accumulate(*self.trained):
                    loss = self.loss(batch)
                    self.update(loss)
                if accelerator.sync_gradients:  # the gradients of this optimizer step were complete
                    steps += 1
                    bar.update(1)
                    if args.save_every_n_steps and steps % args.save_every_n_steps == 0:
                        self.save(self.saver.step, steps)
                value = loss.detach().item()
                accelerator.log(
                    {"loss": value, **log.learning_rates(self.group_names, self.lr_scheduler)}, step=steps
                )
                bar.set_postfix(avr_loss=average.add(value))
                loop.micro_step_ended(steps, value, batch)
                if steps >= args.max_train_steps:
                    break
            accelerator.log({"loss/epoch": average.mean}, step=epoch + 1)
            if args.save_every_n_epochs and (epoch + 1) % args.save_every_n_epochs == 0 and epoch + 1 < epochs:
                self.save(self.saver.epoch, epoch + 1, steps)
        self.save(self.saver.last, steps)
        accelerator.end_training()

    def loss(self, batch: dict) -> torch.Tensor:
        """Return the loss of one batch, a scalar in float32."""
        args, accelerator = self.args, self.accelerator
        latents = batch["latents"].to(accelerator.device, self.dtype) * LATENT_SCALE[self.family]
        with torch.set_grad_enabled(args.train_text_encoder):
            condition = self.condition(batch)
        drawn, timesteps = noise.draw(latents, accelerator, *self.timesteps, self.shapes_of_all())
        noisy = noise.add(self.schedule, latents, drawn, timesteps).to(self.dtype)
        target = noise.target_of(self.schedule, latents, drawn, timesteps, args.v_parameterization)
        manager.current().hook.timesteps_drawn(timesteps=timesteps)
        with accelerator.autocast():
            predicted = self.unet(noisy, timesteps, **condition).sample
        return noise.loss_of(predicted, target, self.weight(timesteps), timesteps)

    def shapes_of_all(self) -> list[list[int]] | None:
        """Return the shape of each process's latents where the order of the data tells it: nobody is asked."""
        run = loop.current()
        if self.accelerator.num_processes == 1 or run is None or run.position is None:
            return None
        return run.position.places.shapes(run.optimizer_steps, run.micro_steps)

    def weight(self, timesteps: torch.Tensor) -> torch.Tensor | None:
        """Return what the flags weigh each sample's loss by, float32 (b,)."""
        args, weight = self.args, None
        if args.min_snr_gamma:
            weight = noise.snr_weight(self.schedule, timesteps, args.min_snr_gamma, args.v_parameterization)
        if args.debiased_estimation_loss:
            debiased = noise.debiased_weight(self.schedule, timesteps, args.v_parameterization)
            weight = debiased if weight is None else weight * debiased
        return weight

    @property
    def projection(self) -> torch.nn.Module | None:
        """SDXL's second text encoder's, unwrapped."""
        return self.models.text_encoders[1].text_projection if self.family == "sdxl" else None

    def condition(self, batch: dict) -> dict:
        """Return the U-Net's conditions: states (b, 77 n, d); SDXL: pooled (b, d2) and sizes (b, 6), too."""
        outputs = batch["text_encoder_outputs_list"]
        sizes = None
        if self.family == "sdxl":
            sizes = torch.cat([batch[key] for key in ("original_sizes_hw", "crop_top_lefts", "target_sizes_hw")], 1)
        if outputs is None:
            ids = [each.to(self.accelerator.device) for each in batch["input_ids_list"]]
            outputs = self.text.encode(ids, self.encoders, self.projection)
        else:
            outputs = [each.to(self.accelerator.device, self.dtype) for each in outputs]
        return calls.conditions(outputs, sizes, self.dtype)

    def update(self, loss: torch.Tensor) -> None:
        """Backward; at the last micro-step of an optimizer step clip and update (accelerate skips it before)."""
        self.accelerator.backward(loss)
        if self.accelerator.sync_gradients and self.args.max_grad_norm:
            parameters = [parameter for model in self.trained for parameter in model.parameters()]
            self.accelerator.clip_grad_norm_(parameters, self.args.max_grad_norm)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)

    def save(self, write, *counts: int) -> None:
        """Let process 0 write while the others wait."""
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            write(*counts)
        self.accelerator.wait_for_everyone()
