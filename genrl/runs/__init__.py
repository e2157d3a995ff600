"""One training of a learner, from its configuration to its result. Nothing here is imported before it is used.

=================  ===================================================================================================================
``config/``        what a run is: its frozen dataclass, which is also its flags and its help, and the files that it can be read from
``environments/``  how its environments are made, checked, timed out and rewound
``sockets.py``     what enters beside the learner: the reward, noise, demonstrations in batches, and whatever another role brings
``vision.py``      how the learner sees images
``imitation/``     what `genrl imitate` adds: demonstrations, and the form of the reward that suits them
``dreams/``        what `genrl dream` adds: the model of the task, dreams of recorded steps, dream against reality
``building.py``    all of these, built from the configuration
``session.py``     what was built, while it trains; its state is the checkpoint
``callbacks/``     what SB3's ``learn`` is given beside the sockets: records, checkpoints, evaluations, progress, trackers
``training.py``    train and resume: the order in which the above is used
``checkpoint.py``  what a stopped run goes on from
``directory.py``   what is in a run directory; ``result.py`` and ``pictures.py`` write most of it
``coverage.py``    where an agent has been; ``averages.py`` has means of returns, ``interrupt.py`` hears Ctrl-C and SIGTERM
``opening.py``     a run that exists, opened for use: its configuration, its models, its trained learner
``play.py``        episodes of a trained policy
``uses/``          what a trained run is used for: load, watch, record, export, push and pull
``screening/``     how far noise alone, and an archive of places, get without a learner
=================  ===================================================================================================================
"""

from typing import Any

from genrl.lazy import public

_MODULES = {
    "DreamConfig": "genrl.runs.config.dream",
    "ExploreConfig": "genrl.runs.config.run",
    "ImitateConfig": "genrl.runs.config.imitate",
    "RunConfig": "genrl.runs.config.run",
    "RunDirectory": "genrl.runs.directory",
    "dream": "genrl.runs.dreams.comparison",
    "explore": "genrl.runs.training",
    "imitate": "genrl.runs.training",
    "card": "genrl.runs.uses.hub",
    "export_onnx": "genrl.runs.uses.export",
    "export_sb3": "genrl.runs.uses.export",
    "export_torchscript": "genrl.runs.uses.export",
    "load": "genrl.runs.uses.load",
    "pull": "genrl.runs.uses.hub",
    "push": "genrl.runs.uses.hub",
    "train": "genrl.runs.training",
    "record": "genrl.runs.uses.record",
    "resume": "genrl.runs.training",
    "watch": "genrl.runs.uses.watch",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    return public(__name__, _MODULES, name)
