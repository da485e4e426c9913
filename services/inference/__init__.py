"""Inference service: loads checkpoints, speaks text with them, and compares them with the base model."""
