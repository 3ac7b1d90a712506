"""Evaluation: the whole agent and its baselines over one stream of questions, and a report that can be checked."""
