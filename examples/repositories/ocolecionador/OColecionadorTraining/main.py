"""Stands for a training run."""

print("nothing to learn")
