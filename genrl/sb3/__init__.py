"""All that touches the insides of Stable-Baselines3: live buffers, batches, raw observations, replay, state, a run's learner and its log.

Nothing outside this folder does, but the callbacks ``rewards/callback.py``, ``policies/noise.py`` and ``policies/warmup.py``.
"""
