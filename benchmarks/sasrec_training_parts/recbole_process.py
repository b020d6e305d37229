"""RecBole's side, run by the Python that has RecBole: `PYTHON recbole_process.py SETTINGS`

SETTINGS: a JSON file of what RecBole's `Config` takes, and `dataset` beside it. Commands come a
line each on stdin, and each is answered by a line of JSON on stdout:

    epoch SHARE    train that share of an epoch: seconds, CPU seconds, steps and targets of it
    fit FILE       train to early stopping; RecBole's figures of the test items. FILE (.npz) gets
                   what its scores are the product of: `states` [U, D], `table` [I, D]

Imports nothing of ours: it runs where only RecBole is installed.
"""

import json
import sys
import time
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed


class Peer:
    def __init__(self, settings: dict[str, Any]) -> None:
        name = settings.pop("dataset")
        self.config = Config(model="SASRec", dataset=name, config_dict=settings)
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.dataset = create_dataset(self.config)
        self.train, self.valid, self.test = data_preparation(self.config, self.dataset)
        init_seed(self.config["seed"], self.config["reproducibility"])
        self.model = SASRec(self.config, self.train.dataset)
        self.trainer = Trainer(self.config, self.model)
        self.epochs = 0

    def epoch(self, share: float) -> dict[str, Any]:
        steps = max(1, round(share * len(self.train)))
        started, computed = time.perf_counter(), time.process_time()
        self.trainer._train_epoch(islice(self.train, steps), self.epochs)
        self.epochs += 1
        return {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - computed,
            "steps": steps,
            "targets": min(steps * self.config["train_batch_size"], len(self.train.dataset)),
        }

    def fit(self, out: Path) -> dict[str, Any]:
        started, computed = time.perf_counter(), time.process_time()
        validations: list[float] = []

        def on_validation(epoch: int, score: float) -> None:
            validations.append(score)
            print(f"RecBole, epoch {epoch + 1}: validation {score:.4f}", file=sys.stderr)

        self.trainer.fit(
            self.train, self.valid, verbose=False, show_progress=False, callback_fn=on_validation
        )
        spent = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - computed,
        }
        reported = self.trainer.evaluate(self.test, show_progress=False)
        self._write_factors(out)
        return {
            **spent,
            "epochs": len(validations),
            "best_epoch": int(np.argmax(validations)) + 1,
            "validation_ndcg": max(validations),
            "reported": {name: float(value) for name, value in reported.items()},
        }

    @torch.inference_mode()
    def _write_factors(self, out: Path) -> None:
        """As `full_sort_predict` multiplies them, without the padding item."""
        self.model.eval()
        states: list[np.ndarray] = []
        users: list[np.ndarray] = []
        for interaction, *_ in self.test:
            found = self.model(
                interaction[self.model.ITEM_SEQ], interaction[self.model.ITEM_SEQ_LEN]
            )
            states.append(found.numpy())
            users.append(self._rows("user_id", interaction["user_id"].numpy()))
        table = self.model.item_embedding.weight[1:].numpy()
        items = self._rows("item_id", np.arange(1, len(table) + 1))
        own_order = np.argsort(np.concatenate(users))
        np.savez(
            out, states=np.concatenate(states)[own_order], table=table[np.argsort(items)]
        )  # fmt: skip

    def _rows(self, field: str, ids: np.ndarray) -> np.ndarray:
        return self.dataset.id2token(field, ids).astype(np.int64)


def main() -> None:
    torch.set_num_threads(1)
    torch.autograd.set_detect_anomaly(False)  # RecBole's module of another model switches it on
    warnings.simplefilter("ignore", FutureWarning)  # of RecBole's use of pandas
    settings = json.loads(Path(sys.argv[1]).read_text())
    # RecBole reads options of its own from the command line, and may print.
    sys.argv = sys.argv[:1]
    answers, sys.stdout = sys.stdout, sys.stderr
    peer = Peer(settings)
    for line in sys.stdin:
        command, argument = line.strip().split(maxsplit=1)
        answer = peer.epoch(float(argument)) if command == "epoch" else peer.fit(Path(argument))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
