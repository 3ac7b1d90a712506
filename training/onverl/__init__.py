"""Our episodes, rewards and data in an unmodified veRL: agent loops, a reward hook, a data set, settings.

veRL is imported where a class must derive from one of its own (`loops`, `dataset`, `trainer`, `main`, `cpu`,
`transformers_rollout`); everything else here works without it.
"""
