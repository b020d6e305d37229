"""Sixth stage: the LLM with LoRA, the item encoder and the fusion head (Sec. 4.3)."""

from pathlib import Path

from services.training.context import StageContext
from services.training.finetune_job import FinetuneJob, finetune
from services.training.finetune_together import finetune_together
from services.training.stages import collaborative, embed, quantize, sequence, snapshot
from services.training.warm_start import load_start
from shared.computing import compute

NAME = "finetune"


async def run(context: StageContext, folder: Path) -> None:
    await compute(_train, context, folder)


def _train(context: StageContext, folder: Path) -> None:
    work, configs = context.work, context.configs
    start = load_start(work.open(embed.NAME))
    parent = start.parent_bundle(context.resources.store, context.catalog_id)
    job = FinetuneJob(
        snapshot=work.open(snapshot.NAME),
        embed=work.open(embed.NAME),
        collaborative=work.open(collaborative.NAME),
        sequence=work.open(sequence.NAME),
        quantize=work.open(quantize.NAME),
        checkpoints=work.checkpoints(),
        output=folder,
        parent=parent.folder if parent is not None and start.is_warm else None,
        base=configs.base,
        ranker=configs.ranker,
    )
    settings = context.resources.settings.training
    if settings.processes == 1:
        finetune(job, context.report)
    else:
        finetune_together(
            job,
            settings.processes,
            context.report,
            check=context.lease.check,
            threads=settings.threads,
        )
