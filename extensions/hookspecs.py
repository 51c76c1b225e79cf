"""Specifies every hook, and draws where a run calls it.

    start       parse the flags                 check_arguments             refuse what cannot work
                open the data set               metadata_fields             which of them texts are made of
                                                corrupt_samples_passed      how many unreadable may be passed over
                                                text_outputs                what stands in for text encoders
                                                held_out_rows               which images are not trained on
                load the models                 models_loaded
                                                select_parameters           what trains
                make the optimizer              optimizer_built
                prepare (DDP, DeepSpeed)        first_optimizer_step        where the run stands
                                                training_begins
                                                  state_restored            where the run goes on exactly
                                                  state_bytes               is there room for its states?
                                                evaluate                    also behind each optimizer step, at last
                                                  averages                  to be looked at, too
                                                  figures_measured
    loop        for each epoch                  epoch_range
                  for each batch                epoch_batches               read ahead, in the data loader's workers:
                  |                               compose_text              of each sample
                  |                               tokenize                  of each batch
                  |   texts to hidden states    encode_tokens
                  |   noise                     draw_timesteps, noise_latents
                  |                             target                      what the U-Net is to predict
                  |                             timesteps_drawn
                  |   U-Net, loss, backward     weigh_loss
                  |   every --gradient_accumulation_steps: optimizer step
                  |   |   save where --save_every_n_steps says so:
                  |   |                         checkpoint_metadata, checkpoint_saved
                  |   the micro-step is over    micro_step_ended
                  |   with an optimizer step    step_reports                one reduction carries all of them
                  |                             optimizer_step_ended
                  save where --save_every_n_epochs says so
                  the epoch is over             epoch_ended
    end         all epochs are over             training_ends
                                                  state_parts               of each training state, at intervals too
                save the last checkpoint        run_ended                   also after an error

A plugin is a class `Plugin`; a method of it that is marked with `@hookimpl` and named like one of these functions is
called at that moment, in the order in which the run lists its plugins. It may take any subset of the arguments, by
name. Hooks marked "first result" stop at the first that does not return None. extensions/README.md has an example.

Counting, everywhere: a *micro-step* is one forward and backward pass on one process; an *optimizer step* is one
update of the weights (gradient accumulation x micro-steps); *samples* are images over all processes.
"""

import pluggy

NAMESPACE = "sdxl_trainer"
hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


# --- before anything is loaded ---------------------------------------------------------------
@hookspec
def check_arguments(args):
    """Refuse what cannot work, by `UserError` with one line. args: the trainer's `argparse.Namespace`, parsed."""


@hookspec
def metadata_fields(args):
    """The other fields of the metadata that `compose_text` is given: {name: what to do if it has numbers, or ""}."""


@hookspec(firstresult=True)
def corrupt_samples_passed(args):
    """How many corrupt samples the data set may pass over in the place of one. First result; else 0: the run ends."""


@hookspec(firstresult=True)
def held_out_rows(args, index):
    """The rows that must not be trained on, int32 (n,), of a `data.index.reader.Index`. First result; else none."""


@hookspec(firstresult=True)
def text_outputs(args, index):
    """The text encoders' outputs of an index's rows, a `data.batches.Outputs`. First result; else they are run."""


# --- in the data loader's workers, for each sample and batch ------------------------------------
@hookspec(firstresult=True)
def compose_text(caption, tags, key, fields, draw, args):
    """The text that one sample is trained on, as `str`. First result.

    caption, tags: `str`, "" where the metadata have none. key: the sample's id. fields: {name: `float` or `str`} of
    those that `metadata_fields` named and its metadata have. draw: a `random.Random` seeded from (run seed, epoch,
    key) only. Without a plugin: caption, separator, tags, as upstream joins them.
    """


@hookspec(firstresult=True)
def tokenize(texts, tokenizers):
    """Token ids of b texts, int64 (b, chunks, 77) for each `CLIPTokenizer`. First result; else the trainer's own."""


# --- once, on every process ---------------------------------------------------------------------
@hookspec
def models_loaded(models):
    """The models, a `model.models.Models` (unet, text_encoders, vae), are in memory, nothing is frozen or wrapped."""


@hookspec
def select_parameters(models, groups):
    """Freeze parameters or take them out of the optimizer's groups {"params": [Parameter, …], "lr": float}, in place.

    Right before the optimizer is built. What is frozen then, and groups left empty, are removed after all plugins.
    """


@hookspec
def optimizer_built(models, optimizer):
    """The optimizer exists, over what `select_parameters` left, not yet wrapped; weights may turn bf16 later."""


@hookspec
def training_begins(run):
    """Everything is prepared, no batch is read. run: `loop.Run` (args, accelerator, optimizer, counters, …)."""


@hookspec
def state_restored(run, state):
    """A `resume.description.State` is put back; take what `state_parts` gave it, by `state.file`, if it is there."""


@hookspec
def state_bytes(models):
    """Bytes that a plugin's parts of a training state will take, those of all processes together, as `int`."""


@hookspec
def state_parts(run):
    """What each process adds to a training state: [(file name of its own, function giving tensors, numbers), …]."""


@hookspec(firstresult=True)
def first_optimizer_step(run):
    """The number of optimizer steps that count as done at the start, as `int`. First result; else 0."""


@hookspec(firstresult=True)
def epoch_range(run, epochs):
    """The epochs to run, as an iterable of `int` below `epochs`. First result; else `range(epochs)`."""


@hookspec(firstresult=True)
def epoch_batches(run, epoch):
    """The batches of one epoch, as an iterable. First result; else the data loader itself."""


# --- in the loop --------------------------------------------------------------------------------
@hookspec(firstresult=True)
def encode_tokens(input_ids, tokenizers, text_encoders, projection, clip_skip):
    """Hidden states of token ids: [states (b, tokens, dim) …, pooled (b, dim)]; SD2: [states]. First result.

    input_ids: one int64 tensor (b, n, 77) a text encoder. text_encoders: as the trainer calls them (DDP may wrap
    them). projection: SDXL's unwrapped second encoder's `text_projection`, else None. clip_skip: upstream's flag.
    """


@hookspec(firstresult=True)
def draw_timesteps(run, shape, process):
    """The timesteps at which a batch is learned from, (b,) on the CPU. First result; else the trainer's own draw.

    shape: (b, 4, h/8, w/8) of the latents of `process`, a rank; a trainer may ask for each in turn. int64: of the
    schedule's 1,000, 0 the cleanest; float32, where `noise_latents` is answered, too: between them.
    """


@hookspec(firstresult=True)
def noise_latents(latents, noise, timesteps):
    """Scaled latents (b, 4, h/8, w/8) with noise, as the U-Net is shown them. First result; else the schedule's."""


@hookspec(firstresult=True)
def target(latents, noise, timesteps):
    """What the U-Net is to predict, (b, 4, h/8, w/8). First result; else noise or v, as the trainer's flags say."""


@hookspec
def timesteps_drawn(timesteps):
    """A batch has its timesteps, (b,), on the latents' device: int64, 0 the cleanest of 1,000; or float32 between."""


@hookspec
def weigh_loss(run, losses):
    """Weigh the loss of each sample of a `model.losses.Losses`, in place: `losses.values = losses.values * …`.

    A plugin finds what the one before has left. The trainer's own weights come after; the batch's loss is the mean.
    """


@hookspec
def micro_step_ended(run, loss, batch):
    """One forward and backward pass is done. loss: `float`, this process's. batch: the trainer's dict."""


@hookspec
def step_reports(run):
    """What this process reports to all at the end of an optimizer step: {name: bool}, or None; the same names on all.

    In `optimizer_step_ended`, `run.reported[name]` is True if any process said so. Names begin as the plugin's.
    """


@hookspec
def optimizer_step_ended(run):
    """The weights were updated; `run.optimizer_steps` already counts it, and `run.reported` is of this step."""


@hookspec
def evaluate(run, ended):
    """Measure the models, or draw with them, and change nothing of the training: no random stream, mode or gradient.

    Called before the first optimizer step, after each when its state is on its way, and at the end (ended: True)."""


@hookspec
def averages(run):
    """Averages to evaluate: {name: function giving a context manager, in which all processes' models have it}."""


@hookspec
def figures_measured(run, figures):
    """A plugin has measured {name: number, text, list or such a dict}, for metrics.jsonl; told on process 0 alone."""


@hookspec
def epoch_ended(run, epoch):
    """An epoch is over and its checkpoint written; every process calls it. epoch: `int`, counted from 0."""


@hookspec
def training_ends(run):
    """All epochs are over, the processes still talk to each other; the last checkpoint is not written yet."""


@hookspec
def checkpoint_metadata(models, optimizer_steps):
    """`dict` of `str` to `str` for the safetensors metadata of a checkpoint about to be written."""


@hookspec
def checkpoint_saved(path, optimizer_steps):
    """A checkpoint stands under its final name."""


# --- at the end ---------------------------------------------------------------------------------
@hookspec
def run_ended(error):
    """The trainer returned (error None) or raised (the exception). Called once on every process."""
