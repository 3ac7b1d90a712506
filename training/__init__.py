"""Training: rewards, advantages and adapters for unmodified veRL."""
