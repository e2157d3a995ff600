"""A pendulum swung up by a policy that learns in a dream: 2,000 real steps, and 150,000 dreamed ones after each 500 of them.

The same PPO without a dream has learned nothing by then. At the end the policy acts from the same starts in the dream and in reality.

    python demos/dream.py    # about a minute of one core; writes demos/results/dream/demo.json and demos/results/dream.png
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from measured import RESULTS, write

from genrl.files import write_whole
from genrl.runs import DreamConfig, dream


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default: 0)")
    parser.add_argument("--steps", type=int, default=2000, help="real steps (default: 2000)")
    args = parser.parse_args()
    found: dict[str, object] = {"env": "Pendulum-v1", "steps": args.steps, "seed": args.seed}
    with tempfile.TemporaryDirectory() as folder:
        for world in ("ensemble", "none"):
            out = Path(folder) / world
            result = dream(DreamConfig(env="Pendulum-v1", steps=args.steps, seed=args.seed, world=world, out=out))
            if result["status"] != "finished":
                raise SystemExit(f"the run was {result['status']}: {result['error'] or 'stopped'}")
            found["in_dreams" if world == "ensemble" else "alone"] = {
                "return": result["evaluation_return"],
                "seconds": result["seconds"],
                "dream": result.get("dream"),
            }
            if world == "ensemble":
                compared = json.loads((out / "dream.json").read_text())
                found |= {"quality": compared["quality"], "policies": compared["policies"]}
                write_whole(RESULTS / "dream.png", (out / "dream.png").read_bytes())
            print(f"world {world}: return {result['evaluation_return']:.0f} after {args.steps:,} real steps", file=sys.stderr)
    write("dream/demo", found)


if __name__ == "__main__":
    main()
