"""The XTTS model as the trainer and the inference service share it: base files, loading, features, text, checkpoints.

Importing this package is cheap. `base` and `hub` never import torch; every other module does, and those that build the
model import coqui-tts as well (about 10 s).
"""
