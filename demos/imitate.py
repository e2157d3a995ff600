"""Imitation from 200 state-action pairs: behaviour cloning falls, GAIL with PPO runs. About a minute and a half on one idle core.

python demos/imitate.py
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import RESULTS, write
from rich.console import Console

from genrl.data import Demonstrations
from genrl.runs import ImitateConfig, imitate
from genrl.studies.tables import Table, rich_table

KEPT = ("env", "learner", "reward", "seed", "steps", "seconds", "evaluation_return", "evaluation_returns", "training_return")
DEMOS = Path(__file__).parent / "halfcheetah.hdf5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps (default: 300000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs") / "imitation", help="run directory (default: runs/imitation)")
    parser.add_argument("--results", action="store_true", help="also write imitation.json and imitation.png into demos/results")
    flags = parser.parse_args()
    print(Demonstrations.load(DEMOS).subsample(episodes=4, every=20))
    result = imitate(ImitateConfig(demos=DEMOS, episodes=4, every=20, steps=flags.steps, seed=flags.seed, out=flags.out))
    if result["status"] != "finished":
        raise SystemExit(f"{result['status']}: {result['error'] or f'go on with genrl resume {flags.out}'}")
    known = result["imitation"]
    returns = {
        "expert": known["expert_return"],
        "behaviour cloning": known["cloned_return"],
        f"GAIL with PPO, {result['steps']:,} steps, {result['seconds'] / 60:.1f} minutes": result["evaluation_return"],
    }
    Console().print(rich_table(Table(["", "return"], [[name, f"{value:,.0f}"] for name, value in returns.items()])))
    picture = flags.out / "learning_curve.png"
    if flags.results:
        write("imitation", known | {key: result[key] for key in KEPT})
        shutil.copy(picture, RESULTS / "imitation.png")
    print(f"picture: {picture}\nwatch it: genrl watch {flags.out}")


if __name__ == "__main__":
    main()
