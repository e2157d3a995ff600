"""All that touches the insides of Stable-Baselines3: live buffers, batches, raw observations, replay, state, and the learner of a run.

Nothing outside this folder does, but the callbacks ``rewards/callback.py``, ``policies/noise.py`` and ``policies/warmup.py``.
"""
