"""Trains a tiny model on cached preferences, in as many processes as it is launched in; writes the loss curve."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from tiny_pipelines import ready
from tiny_preferences import preferences

from evenhand.host.host import Host
from evenhand.training.config import PopulationPreferenceConfig
from evenhand.training.trainer import PopulationPreferenceTrainer

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, loss = Path(sys.argv[1]), sys.argv[2]
    with Host.wrap(ready("sd1")) as host:
        config = PopulationPreferenceConfig(
            output_dir=folder, loss=loss, max_steps=5, warmup=0, populations_per_step=4, beta=5.0, learning_rate=1e-3,
            rank=4,
        )  # fmt: skip
        data = preferences(host, populations=8)
        trainer = PopulationPreferenceTrainer(host.denoiser, host.pipe.scheduler, config, data)
        logged = trainer.train()
    if Accelerator(cpu=True).is_main_process:
        (folder / "curve.json").write_text(json.dumps([one["loss"] for one in logged]))
