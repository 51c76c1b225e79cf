"""Specifies every hook, and draws where a run calls it.

    start       parse the flags
                  check_arguments                       refuse what cannot work
                open the data set
                  corrupt_samples_passed                how many unreadable samples may be passed over
                  held_out_rows                         which images are not trained on
                load the models
                  models_loaded
                  select_parameters                     what trains
                make the optimizer
                  optimizer_built
                prepare (DDP, DeepSpeed)
                  first_optimizer_step                  where the run stands
                  training_begins
                    state_restored                      where the run goes on exactly
                    state_bytes                         is there room for its states?
                  evaluate                              here, behind each optimizer step, and at the end
                    averages                            to be looked at, too
                    figures_measured
    loop        for each epoch of epoch_range
                  for each batch of epoch_batches       read ahead, in the data loader's workers:
                  |                                       compose_text      of each sample
                  |                                       tokenize          of each batch
                  |   encode_tokens                     texts to hidden states
                  |   noise
                  |     timesteps_drawn
                  |   U-Net, loss, backward
                  |   every --gradient_accumulation_steps: optimizer step
                  |   |   save where --save_every_n_steps says so
                  |   |     checkpoint_metadata
                  |   |     checkpoint_saved
                  |   micro_step_ended
                  |   where there was an optimizer step:
                  |   |   step_reports                  one reduction carries all of them
                  |   |   optimizer_step_ended
                  save where --save_every_n_epochs says so
                  epoch_ended
    end           training_ends
                    state_parts                         of each training state, here and at intervals
                save the last checkpoint
                  run_ended                             also after an error

A plugin is a class `Plugin`; a method of it that is marked with `@hookimpl` and named like one of these functions is
called at that moment, in the order in which the run lists its plugins. It may take any subset of the arguments, by
name. Both trainers call the same hooks with the same meaning. extensions/README.md has an example.

Counting, everywhere: a *micro-step* is one forward and backward pass on one process; an *optimizer
step* is one update of the weights (gradient accumulation x micro-steps); *samples* are images over
all processes. A hook never mixes them.

Hooks marked "first result" stop at the first plugin that does not return None.
"""

import pluggy

NAMESPACE = "sdxl_trainer"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


# --- before anything is loaded ---------------------------------------------------------------
@hookspec
def check_arguments(args):
    """Refuse what cannot work. Called once the flags are parsed, before data or model are read.

    args: the trainer's `argparse.Namespace`. Raise `UserError` with one line.
    """


@hookspec(firstresult=True)
def corrupt_samples_passed(args):
    """How many corrupt samples the data set may pass over in the place of one, as `int`. First result; else 0.

    Asked once, when the data set is opened. 0: the first one ends the run.
    """


@hookspec(firstresult=True)
def held_out_rows(args, index):
    """The rows of the data set that must not be trained on, int32 (n,). First result; else none.

    index: `extensions.data.index.reader.Index`. Asked once, when the data set is opened, by `make batch`, too.
    """


# --- in the data loader's workers, for each sample and batch ------------------------------------
@hookspec(firstresult=True)
def compose_text(caption, tags, key, draw, args):
    """The text that one sample is trained on, as `str`. First result.

    caption, tags: `str`, "" where the metadata have none. key: the sample's id. draw: a `random.Random` seeded from
    (run seed, epoch, key) only. Without a plugin: caption, separator, tags, as upstream joins them.
    """


@hookspec(firstresult=True)
def tokenize(texts, tokenizers):
    """Token ids of a batch of texts. First result.

    texts: list of b `str`. tokenizers: one `CLIPTokenizer` a text encoder (SDXL 2, SD2 1).
    Returns a list, one int64 tensor (b, n chunks, 77) a tokenizer. Without a plugin: the trainer's own.
    """


# --- once, on every process ---------------------------------------------------------------------
@hookspec
def models_loaded(models):
    """The models, a `model.models.Models` (unet, text_encoders, vae), are in memory, nothing is frozen or wrapped."""


@hookspec
def select_parameters(models, groups):
    """Freeze parameters or take them out of the optimizer's groups, in place.

    Called right before the optimizer is built, after the trainer's own `requires_grad_`. groups: list
    of {"params": [Parameter, …], "lr": float}. Parameters with `requires_grad` False and groups that
    are left empty are removed after all plugins had their turn.
    """


@hookspec
def optimizer_built(models, optimizer):
    """The optimizer exists; neither its schedule nor accelerate's wrapper does.

    The moment to change how it steps (`optimizer.step`) or keeps its state. optimizer: a
    `torch.optim.Optimizer` over the parameters that `select_parameters` left. Weights may still be fp32 and
    turn bf16 later (--full_bf16).
    """


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
    """Hidden states of a batch of token ids. First result.

    input_ids: list, one int64 tensor (b, n, 77) a text encoder. text_encoders: the models as the
    trainer calls them (they may be wrapped by DDP). projection: SDXL's unwrapped second text encoder's
    `text_projection`, None for SD2. clip_skip: as upstream's flag, or None.
    Returns [states (b, tokens, dim) …, pooled (b, dim)]; SD2: [states].
    """


@hookspec
def timesteps_drawn(timesteps):
    """A batch has its timesteps, int64 (b,), on the latents' device; 0 is the cleanest of 1,000."""


@hookspec
def micro_step_ended(run, loss, batch):
    """One forward and backward pass is done. loss: `float`, this process's. batch: the trainer's dict."""


@hookspec
def step_reports(run):
    """What this process reports to all at the end of an optimizer step, as `dict` of `str` to `bool`, or None.

    One reduction carries the reports of all plugins: in `optimizer_step_ended`, `run.reported[name]` is True on every
    process where any process said so. A plugin gives the same names on every process, and begins them with its own.
    """


@hookspec
def optimizer_step_ended(run):
    """The weights were updated; `run.optimizer_steps` already counts it, and `run.reported` is of this step."""


@hookspec
def evaluate(run, ended):
    """Measure the models, or draw with them, and change nothing of the training: no random stream, mode or gradient.

    Called before the first optimizer step, after each, when its state is saved or on its way (a kill from here on
    costs nothing of it), and once more at the end. ended: `bool`. Every process calls it.
    """


@hookspec
def averages(run):
    """Averages to evaluate: {name: function giving a context manager, in which all processes' models have it}."""


@hookspec
def figures_measured(run, figures):
    """A plugin has measured something after `run.optimizer_steps` optimizer steps; told on process 0 alone.

    figures: {name: number, text, list or such a dict}, for metrics.jsonl; numbers also go to the trackers.
    """


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
