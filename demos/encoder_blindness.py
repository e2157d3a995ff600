"""What encoders see of a pole that stands, by the frames that they were fitted to: `python demos/encoder_blindness.py`, three minutes.

Each encoder is fitted three times to 5,000 frames of PixelCartPoleSwingUp: of random actions from the start, with `--archive 20000`, and
from starts anywhere. The probes are fitted to frames of standing poles (cos θ > 0.9) that no encoder has seen, and judged on others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from encoders import eyes
from measured import write

from genrl.data import Images, Walk
from genrl.encoders import load_encoder, what_it_sees
from genrl.generation import record_frames

TASK, SEED, FRAMES, PROBED, HISTORY, STANDS = "genrl/PixelCartPoleSwingUp-v0", 0, 5_000, 10_000, 3, 0.9
ANYWHERE = {"start": "anywhere", "max_episode_steps": 25}
RECORDED: dict[str, tuple[str, dict[str, Any]]] = {
    "random actions": ("cartpole", {}),
    "an archive": ("cartpole_archive", {"archive": 20_000}),
    "starts anywhere": ("cartpole_anywhere", {"env_kwargs": ANYWHERE}),
}
ARMS = ("jepa", "pca", "random")


def standing(seed: int) -> Images:
    """Stretches of ``HISTORY`` frames, the last of which shows a pole that stands."""
    images = record_frames(TASK, PROBED, seed=seed, size=0, env_kwargs=ANYWHERE).train
    walk = images.walk
    assert walk is not None and walk.state is not None
    rows = walk.stacks(HISTORY)
    rows = rows[walk.state[rows[:, -1], walk.state_names.index("cos_theta")] > STANDS]
    number = torch.arange(len(rows)).repeat_interleave(HISTORY)
    flat = rows.flatten()
    return Images(images.pixels[flat], walk=Walk(number, walk.action[flat], walk.source, walk.state[flat], walk.state_names))


def main() -> None:
    torch.set_num_threads(1)
    train, test = standing(1_000_000), standing(2_000_000)
    rows = []
    for frames, (folder, recorded) in RECORDED.items():
        for arm in ARMS:
            encoder = load_encoder(eyes(Path("runs/eyes") / folder, arm, TASK, SEED, FRAMES, **recorded))
            sight = what_it_sees(encoder, train, test, history=HISTORY)
            rows.append({"arm": arm, "frames": frames, "linear": sight.state, "products": dict(sight.products)})
            print(rows[-1], flush=True)
    stretches = [len(images) // HISTORY for images in (train, test)]
    write("encoders/blindness", {"task": TASK, "seed": SEED, "frames": FRAMES, "stretches": stretches, "encoders": rows})


if __name__ == "__main__":
    main()
