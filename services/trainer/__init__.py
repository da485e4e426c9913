"""The trainer service: fine-tunes XTTS-v2 on a dataset and keeps the checkpoints."""
