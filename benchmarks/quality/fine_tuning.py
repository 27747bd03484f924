"""What each technique of docs/fine-tuning.md does on its two small tasks: held-out log loss after 48 rows.

Each seed trains a model like BERT and one like ViT on 128 rows first, then fine-tunes copies of it with the labels
turned round and a new head: without a recipe, with each technique alone, and with all. Differences are paired by seed.
Run: ``python benchmarks/quality/fine_tuning.py``
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import options, write_result

import dashpot
from dashpot.integrations.transformers import DashpotTrainer

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 2,
    "initializer_range": 0.2,
}
TEXT = ["embedding-noise:alpha=1", "r-drop:strength=0.5", "l2sp:strength=0.01", "ema:decay=0.9"]
IMAGE = ["mixup:alpha=0.2", "label-smoothing:smoothing=0.1", "l2sp:strength=0.01", "ema:decay=0.9"]


def texts(seed: int) -> tuple[Any, list[dict[str, Any]]]:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(8, 40, (1152, 8), generator=random)
    ids[::2, 3] = 7
    rows = [{"input_ids": x, "attention_mask": torch.ones_like(x), "labels": int((x == 7).any())} for x in ids]
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=40, **SMALL)), rows


def images(seed: int) -> tuple[Any, list[dict[str, Any]]]:
    random = torch.Generator().manual_seed(seed)
    pixels, left = torch.rand(1152, 3, 8, 8, generator=random), torch.arange(1152) % 2 == 0
    pixels[left, :, :, :4] += 0.5
    pixels[~left, :, :, 4:] += 0.5
    rows = [{"pixel_values": x, "labels": int(y)} for x, y in zip(pixels, left, strict=True)]
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=8, patch_size=4, **SMALL)), rows


def trained(model: Any, rows: Any, held: Any, epochs: int, recipe: Any, seed: int, lr_decay: float | None) -> float:
    rate, optimizer = 3e-3, None
    if lr_decay is not None:
        optimizer = torch.optim.AdamW(dashpot.finetune_groups(model, lr=rate, decay=lr_decay))
    with tempfile.TemporaryDirectory() as folder:
        args = transformers.TrainingArguments(
            folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=256,
            learning_rate=rate,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
        )
        trainer = DashpotTrainer(
            model=model, args=args, train_dataset=rows, eval_dataset=held, recipe=recipe, optimizers=(optimizer, None)
        )
        trainer.train()
        return float(trainer.evaluate()["eval_loss"])


def main() -> None:
    given = options(argparse.ArgumentParser(description=__doc__))
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    seeds = range(2 if given.quick else 8)
    start, result = time.perf_counter(), {}
    for name, build, recipe in (("text", texts, TEXT), ("image", images, IMAGE)):
        arms: dict[str, Any] = {"none, one rate": None, "none": None, **{one: one for one in recipe}}
        arms["all"] = " | ".join(recipe)
        losses: dict[str, list[float]] = {arm: [] for arm in arms}
        for seed in seeds:
            torch.manual_seed(seed)
            first, rows = build(seed)
            trained(first, rows[:128], rows[128:], 12, None, seed, None)
            dashpot.replace_head(first, 2)
            task = [{**row, "labels": 1 - row["labels"]} for row in rows]
            for arm, text in arms.items():
                decay = None if arm == "none, one rate" else 0.75
                losses[arm].append(trained(copy.deepcopy(first), task[:48], task[128:], 4, text, seed, decay))
        result[name] = {
            arm: {
                "log_loss": statistics.mean(found),
                "minus_none": statistics.mean(a - b for a, b in zip(found, losses["none"], strict=True)),
                "standard_error": statistics.stdev(a - b for a, b in zip(found, losses["none"], strict=True))
                / len(found) ** 0.5,
            }
            for arm, found in losses.items()
        }
        for arm, row in result[name].items():
            print(f"{name:6} {arm:32} {row['log_loss']:.4f}  {row['minus_none']:+.4f} +- {row['standard_error']:.4f}")
    record = {"seeds": len(seeds), **result, "seconds": time.perf_counter() - start}
    write_result("fine-tuning", record, given.result)


if __name__ == "__main__":
    main()
