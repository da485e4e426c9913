"""The voices made: their checkpoints, which of them is the current one, and what was said with them.

The trainer writes checkpoints and inference speaks with them; both read here what there is. Nothing in it imports torch.
"""
