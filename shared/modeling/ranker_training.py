"""Fine-tuning the ranker (Sec. 4.3): every prefix of every history, early stopping on validation.

Loss, by `RankerConfig.loss`: cross-entropy over the catalogue (`full`), over sampled items
(`sampled`, for large catalogues) or the paper's binary cross-entropy (`bce`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared.errors import ConflictError, InvalidInputError
from shared.modeling.base_model import load_base
from shared.modeling.base_source import BaseSource
from shared.modeling.evaluation import Scorer, evaluate_each
from shared.modeling.fusion_head import FusionHead
from shared.modeling.imputation import Content, impute
from shared.modeling.inheritance import require_start
from shared.modeling.item_encoder import EQUATION_16, ItemEncoder, ItemForm
from shared.modeling.metrics import ranking_metrics
from shared.modeling.modality import CONTENT_MODALITIES, Modality
from shared.modeling.progress import OnProgress, Progress, ignore_progress
from shared.modeling.prompt import PromptTemplate
from shared.modeling.ranker import Ranker
from shared.modeling.ranker_config import Precision, RankerConfig, Schedule
from shared.modeling.ranker_loss import alignment_loss, batch_loss
from shared.modeling.sasrec import SASRec
from shared.modeling.seeding import seeded
from shared.modeling.sequence_part import SequencePart
from shared.modeling.sequences import (
    NOT_EVALUATED,
    ItemRows,
    Split,
    item_frequency,
    require_targets,
)
from shared.modeling.sharding import like, shard, whole
from shared.modeling.training_processes import BatchPart, TrainingProcesses
from shared.modeling.window_batches import WindowBatch, batches_of, training_windows

STAGE = "finetune"
SELECTION_METRIC = "ndcg@10"
CHECKPOINT_FILE = "checkpoint.pt"
LOWEST_RATE = 0.02
# Settings that decide where and in which order the same numbers are computed.
LAYOUT_SETTINGS = (
    "checkpoint_every", "device", "gradient_accumulation", "gradient_checkpointing", "sharded",
)  # fmt: skip
# Far more steps than any run has: the parts of a batch draw from seeds that no step has.
PART_STRIDE = 2**40


def train_ranker(
    split: Split,
    number_of_items: int,
    embeddings: Mapping[Modality, Tensor],
    codes: Mapping[Modality, Tensor],
    code_embeddings: Mapping[Modality, Tensor],
    source: BaseSource,
    config: RankerConfig,
    on_progress: OnProgress = ignore_progress,
    *,
    form: ItemForm = EQUATION_16,
    fused: bool = True,
    sequence: SASRec | None = None,
    start: Mapping[str, Tensor] | None = None,
    checkpoint_folder: Path | None = None,
    processes: TrainingProcesses | None = None,
) -> Ranker:
    """Train on `split.train`; return the ranker of the best validation epoch, in eval mode.

    embeddings: E_j [I, D_j]. codes: [I, L]. code_embeddings: [L, S, D_LLM] (or random ones).
    form, fused: as in `build_ranker`. sequence: a trained SASRec for a config with weights for its
    scores; else it is not looked at.
    start: weights by parameter to begin with (`inherited_ranker`); they are validated before the
    first step, as epoch 0, so that the result is never worse.
    checkpoint_folder: holds a checkpoint that a later call with the same inputs goes on from. On a
    CPU with the same number of threads it ends in the weights of an unbroken run, bit by bit.
    processes: those that train together, each of which makes this call with the same inputs; alone
    by default. Only the main one reports and writes checkpoints; all of them return the ranker.

    Raises InvalidInputError when the inputs or `start` do not agree or no user has a validation
    item, and ConflictError when the folder's checkpoint was written for other settings or data.
    """
    processes = processes or TrainingProcesses()
    _check_inputs(split, number_of_items, embeddings)
    if config.sequence_weights:
        _check_sequence(sequence, number_of_items)
    sharded = config.sharded and processes.number > 1
    if sharded and config.train_base and source.dtype != "float32":
        raise InvalidInputError.of("base.dtype", "must be float32 to train a sharded base")
    build = partial(
        build_ranker,
        split,
        number_of_items,
        embeddings,
        codes,
        code_embeddings,
        source,
        form=form,
        fused=fused,
        start=start,
    )
    ranker = build(replace(config, device="cpu") if sharded else config)
    run = _Run(ranker, split, config, on_progress, checkpoint_folder, processes, start)
    run.resume()
    if start is not None:
        run.epoch_zero()
    while not run.finished:
        run.epoch()
    sequence_part = None if sequence is None else run.best_sequence_part(sequence)
    best_weights = {name: whole(weight) for name, weight in run.best_weights.items()}
    if sharded:
        # The trained one stays in pieces for good, and what it began with is known.
        del run, ranker
        ranker = build(replace(config, device="cpu"))
    ranker.load_state_dict(best_weights, strict=False)
    estimate_cold_targets(ranker)
    ranker.sequence_part = sequence_part and sequence_part.to(ranker.device)
    return ranker.eval()


def build_ranker(
    split: Split,
    number_of_items: int,
    embeddings: Mapping[Modality, Tensor],
    codes: Mapping[Modality, Tensor],
    code_embeddings: Mapping[Modality, Tensor],
    source: BaseSource,
    config: RankerConfig,
    *,
    form: ItemForm = EQUATION_16,
    fused: bool = True,
    start: Mapping[str, Tensor] | None = None,
) -> Ranker:
    """The ranker before its first step.

    form: what of an item enters the LLM. fused: score with the modalities too (Eq. 18), not with
    E_x alone. start: as in `train_ranker`. Raises InvalidInputError as `train_ranker` does.
    """
    source = replace(source, tiny=replace(source.tiny, seed=config.seed))
    with seeded(config.seed):
        base = load_base(source, four_bit=config.four_bit)
        encoder = ItemEncoder(embeddings, codes, code_embeddings, form)
        if encoder.dimension != base.model.config.hidden_size:
            raise InvalidInputError.of(
                "code_embeddings",
                f"have the dimension {encoder.dimension}, the base model"
                f" {base.model.config.hidden_size}",
            )
        encoder.initialise(content_scale=config.content_scale, seed=config.seed)
        head = FusionHead(
            torch.from_numpy(item_frequency(split, number_of_items)),
            encoder.modalities if fused else (),
            encoder.dimension,
            temperature=config.temperature,
            seed=config.seed,
        )
        prompt = PromptTemplate.from_tokenizer(
            base.tokenizer,
            vocabulary_size=base.model.config.vocab_size,
            max_history=config.max_history,
        )
        ranker = Ranker(
            base, encoder, head, prompt, source, lora=config.lora, train_base=config.train_base
        )
    if start is not None:
        require_start(start, dict(ranker.named_parameters()))
        ranker.load_state_dict(start, strict=False)
    if config.precision == Precision.BFLOAT16:
        ranker.autocast_dtype = torch.bfloat16
    if config.gradient_checkpointing:
        base.model.gradient_checkpointing_enable({"use_reentrant": False})
    return ranker.to(config.device)


class TrainingStep(nn.Module):
    """What the weights are used for while training, as DDP and FSDP have to see it."""

    def __init__(self, ranker: Ranker, config: RankerConfig) -> None:
        super().__init__()
        self.ranker = ranker
        self.config = config

    def forward(self, batch: WindowBatch) -> Tensor:
        """The loss of a batch."""
        loss = batch_loss(self.ranker, batch, self.config)
        if self.config.alignment:
            loss = loss + self.config.alignment * alignment_loss(
                self.ranker.item_encoder, batch, self.config.alignment_temperature
            )
        return loss

    def item_tables(self) -> tuple[Tensor, Tensor]:
        """The input table and E*, as `Ranker.fused_matrix` gives it."""
        return self.ranker.input_table(), self.ranker.fused_matrix()

    def states(self, histories: list[ItemRows], input_table: Tensor) -> Tensor:
        """What E* scores: o_LLM [B, D], with h where SASRec takes part."""
        states = self.ranker.hidden_states(histories, input_table)
        return self.ranker.with_sequence(states, histories)

    def sharded_scorer(self) -> Scorer:
        """`Ranker.scorer` of weights in pieces, which every process calls equally often."""
        # Weights put together in inference mode could not be used for gradients afterwards.
        with torch.inference_mode(False), torch.no_grad():
            input_table, fused = self.item_tables()

        def score(histories: list[ItemRows]) -> Tensor:
            with torch.inference_mode(False), torch.no_grad():
                return self.states(histories, input_table) @ fused.T

        return score


class _Run:
    """One training run: what a checkpoint has to hold, and the loop over it."""

    def __init__(
        self,
        ranker: Ranker,
        split: Split,
        config: RankerConfig,
        on_progress: OnProgress,
        folder: Path | None,
        processes: TrainingProcesses,
        start: Mapping[str, Tensor] | None,
    ) -> None:
        self.ranker = ranker
        self.processes = processes
        self.split = split
        self.config = config
        self.on_progress = on_progress
        self.checkpoint = None if folder is None else folder / CHECKPOINT_FILE
        self.fingerprint = _fingerprint(ranker, split, config, start)
        step = TrainingStep(ranker, config)
        self.step: nn.Module
        if config.sharded and processes.number > 1:
            shard(step, ranker, config.device, methods=("item_tables", "states"))
            self.scorer, self.step = step.sharded_scorer, step
        else:
            self.scorer, self.step = ranker.scorer, processes.replicated(step)
        self.optimizer = _optimizer(ranker, config)
        self.histories = split.validation_histories()
        self.epochs_done = 0
        self.steps_in_epoch = 0
        self.steps_done = 0
        self.stale_epochs = 0
        self.best_metric = -1.0
        self.best_weights: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        return self.epochs_done >= self.config.epochs or self.stale_epochs >= self.config.patience

    def epoch_zero(self) -> None:
        """Validate what training begins with, unless that was done before the run was resumed."""
        if self.best_weights:
            return
        self._validate()
        self.save()
        self._report(len(self._batches()), self._validation_figures())

    def epoch(self) -> None:
        batches = self._batches()
        self.step.train()
        for batch in batches[self.steps_in_epoch :]:
            loss = self._step(batch, self._rate(self.steps_in_epoch / len(batches)))
            self.steps_in_epoch += 1
            self.steps_done += 1
            if self.steps_done % self.config.checkpoint_every == 0:
                self.save()
            self._report(len(batches), {"loss": loss})
        self._validate()
        self.epochs_done += 1
        self.steps_in_epoch = 0
        self.save()
        self._report(len(batches), self._validation_figures())

    def _validation_figures(self) -> dict[str, float]:
        return {SELECTION_METRIC: self.last_metric, "best": self.best_metric}

    def _batches(self) -> list[WindowBatch]:
        generator = np.random.default_rng([self.config.seed, self.epochs_done])
        windows = training_windows(self.split.train, self.config.max_history, generator)
        return batches_of(windows, self.config.batch_size, generator)

    def _rate(self, of_epoch: float) -> float:
        """What the learning rates are multiplied with, after so much of the epoch."""
        rate = min(1.0, (self.steps_done + 1) / max(1, self.config.warm_up_steps))
        if self.config.schedule == Schedule.LINEAR:
            left = 1 - (self.epochs_done + of_epoch) / self.config.epochs
            rate *= max(LOWEST_RATE, left)
        return rate

    def _step(self, batch: WindowBatch, rate: float) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        parts = list(self.processes.parts(batch, self.config.gradient_accumulation))
        losses = [self._part(part, last=part is parts[-1]) for part in parts]
        nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]],
            self.config.gradient_clip * batch.weight,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        self.optimizer.step()
        return float(self.processes.sum(torch.stack(losses).sum()))

    def _part(self, part: BatchPart, *, last: bool) -> Tensor:
        """Add the gradient of a part of a batch; return what it adds to the batch's mean loss."""
        # Seeded by the step, so that a run resumed here draws the same dropout and negatives.
        seed = (self.config.seed + 1) * 1_000_003 + self.steps_done + part.number * PART_STRIDE
        with (
            seeded(seed, self.config.device),
            self.processes.accumulating(self.step, last=last),
        ):
            loss: Tensor = self.step(part.batch) * part.share
            weighted = loss * part.batch.weight * self.processes.number
            weighted.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _validate(self) -> None:
        self.step.eval()
        score = self.scorer()
        (self.last_metric,) = self._validation_metrics(lambda histories: (score(histories),))
        if self.last_metric > self.best_metric:
            self.best_metric = self.last_metric
            self.stale_epochs = 0
            self.best_weights = {
                name: tensor.detach().clone() for name, tensor in self._trained().items()
            }
        else:
            self.stale_epochs += 1

    def best_sequence_part(self, sequence: SASRec) -> SequencePart | None:
        """SASRec with the best of the weights on validation, beside the best epoch's LLM; None
        where that is better alone."""
        self.ranker.load_state_dict(self.best_weights, strict=False)
        self.step.eval()
        items = with_cold_rows(sequence.output_embeddings().detach(), self.ranker)
        beside = SequencePart.of(sequence, items, weight=1.0).to(self.config.device)
        score = self.scorer()

        def of_each_weight(histories: list[ItemRows]) -> Iterator[Tensor]:
            own, others = score(histories), beside.states(histories) @ beside.scoring_rows().T
            return (own + weight * others for weight in self.config.sequence_weights)

        metrics = self._validation_metrics(of_each_weight)
        best = max(range(len(metrics)), key=metrics.__getitem__)
        if metrics[best] <= self.best_metric:
            return None
        return SequencePart.of(sequence, items, self.config.sequence_weights[best])

    def _validation_metrics(
        self, scores_of: Callable[[list[ItemRows]], Iterable[Tensor]]
    ) -> list[float]:
        """The masked nDCG@10 of each of `scores_of`, over all users with a target: each process
        ranks those of its share.

        All shares are of one size, so that the processes score equally many batches: some users
        are in two of them.
        """
        targets, number = self.split.validation_target, self.processes.number
        users = np.flatnonzero(targets != NOT_EVALUATED)
        dealt = np.resize(users, -(-len(users) // number) * number)
        own = dealt[self.processes.index :: number]
        histories = [self.histories[user] for user in own]
        metrics = []
        for evaluation in evaluate_each(scores_of, histories, targets[own]):
            ranks = self.processes.gather(evaluation.masked_ranks)
            of_users = ranks.T.flatten()[: len(users)]
            metrics.append(ranking_metrics(of_users)[SELECTION_METRIC])
        return metrics

    def _report(self, steps_an_epoch: int, metrics: Mapping[str, float]) -> None:
        if not self.processes.is_main:
            return
        total = self.config.epochs * steps_an_epoch
        done = self.epochs_done * steps_an_epoch + self.steps_in_epoch
        self.on_progress(Progress(STAGE, done, total, metrics))

    def _trained(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.ranker.named_parameters() if p.requires_grad}

    def save(self) -> None:
        """Write a checkpoint, which another number of processes may go on from as well."""
        if self.checkpoint is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "weights": {name: whole(p.detach()) for name, p in self._trained().items()},
            "optimizer": _each_moment(self.optimizer.state_dict(), lambda _, moment: whole(moment)),
            "epochs_done": self.epochs_done,
            "steps_in_epoch": self.steps_in_epoch,
            "steps_done": self.steps_done,
            "stale_epochs": self.stale_epochs,
            "best_metric": self.best_metric,
            "best_weights": {name: whole(weight) for name, weight in self.best_weights.items()},
        }
        if not self.processes.is_main:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if it holds one."""
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        state = torch.load(self.checkpoint, map_location=self.config.device, weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            raise ConflictError(
                f"checkpoint_folder: {self.checkpoint} was written for other settings or data"
            )
        trained = self._trained()
        pieces = {name: like(weight, trained[name]) for name, weight in state["weights"].items()}
        self.ranker.load_state_dict(pieces, strict=False)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.load_state_dict(
            _each_moment(state["optimizer"], lambda place, moment: like(moment, parameters[place]))
        )
        self.epochs_done = state["epochs_done"]
        self.steps_in_epoch = state["steps_in_epoch"]
        self.steps_done = state["steps_done"]
        self.stale_epochs = state["stale_epochs"]
        self.best_metric = state["best_metric"]
        self.best_weights = {
            name: like(weight, trained[name]) for name, weight in state["best_weights"].items()
        }


@torch.no_grad()
def estimate_cold_targets(ranker: Ranker) -> None:
    """E_x of the items that training never met: as those of the items most like them in content.

    They take no part in the softmax, where they could only sink: what is learned of them is what
    their embeddings share with others', as for an item that comes after training.
    """
    table = ranker.fusion_head.target_table
    table.copy_(with_cold_rows(table, ranker))


def with_cold_rows(table: Tensor, ranker: Ranker) -> Tensor:
    """table [I, D] with the rows of items that training never met estimated: from those of the
    items most like them in content, or as the mean of all where there is no content."""
    encoder = ranker.item_encoder
    met = ranker.fusion_head.frequency > 0
    if bool(met.all()) or not bool(met.any()):
        return table
    table = table.to(met.device)
    vectors = {j: encoder.embeddings(j) for j in CONTENT_MODALITIES if j in encoder.modalities}
    if vectors:
        return impute(table, met, Content(vectors, dict.fromkeys(vectors, torch.ones_like(met))))
    return torch.where(met.unsqueeze(1), table, table[met].mean(dim=0))


def _optimizer(ranker: Ranker, config: RankerConfig) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []
    for parameters, rate in (
        (ranker.base_parameters(), config.learning_rate_base),
        (ranker.new_parameters(), config.learning_rate_new),
    ):
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        groups.append({"params": matrices, "peak": rate, "weight_decay": config.weight_decay})
        groups.append({"params": vectors, "peak": rate, "weight_decay": 0.0})
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0)


def _each_moment(
    state: Mapping[str, Any], change: Callable[[int, Tensor], Tensor]
) -> dict[str, Any]:
    """An optimizer's state with its tensors changed; `change` is told the parameter's place."""
    moments = {
        place: {name: change(place, moment) for name, moment in own.items()}
        for place, own in state["state"].items()
    }
    return {"state": moments, "param_groups": state["param_groups"]}


def _fingerprint(
    ranker: Ranker, split: Split, config: RankerConfig, start: Mapping[str, Tensor] | None
) -> str:
    """Changes with the settings but those of the layout, the base, sequences, embeddings and what
    training begins with."""
    settings = {
        name: value for name, value in config.as_dict().items() if name not in LAYOUT_SETTINGS
    }
    design = [asdict(ranker.item_encoder.form), list(ranker.fusion_head.modalities)]
    digest = hashlib.sha256(json.dumps([settings, ranker.source.as_dict(), design]).encode())
    for items in split.train:
        digest.update(np.append(items, NOT_EVALUATED).tobytes())
    digest.update(split.validation_target.tobytes())
    for modality in ranker.item_encoder.modalities:
        digest.update(ranker.item_encoder.embeddings(modality).cpu().numpy().tobytes())
        digest.update(ranker.item_encoder.codes(modality).cpu().numpy().tobytes())
    for name, weight in sorted((start or {}).items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_sequence(sequence: SASRec | None, number_of_items: int) -> None:
    if sequence is None or sequence.number_of_items != number_of_items:
        raise InvalidInputError.of(
            "ranker.sequence_weights", f"need a SASRec of the {number_of_items} items"
        )


def _check_inputs(
    split: Split, number_of_items: int, embeddings: Mapping[Modality, Tensor]
) -> None:
    require_targets(split)
    for modality, table in embeddings.items():
        if len(table) != number_of_items:
            raise InvalidInputError.of(
                f"embeddings.{modality}", f"have {len(table)} rows for {number_of_items} items"
            )
