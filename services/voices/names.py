"""Names that mean something by themselves where a voice is named, so that no voice made here may have them."""

from __future__ import annotations

from services.voices.checkpoints import BASE

ANY_VOICE = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""OpenAI's models, which programs have written into them: the voice that is asked for, or that was trained last."""

OWN_VOICE = frozenset(
    [
        "",
        "default",
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
    ]
)
"""What programs say for a voice when they know none of ours: OpenAI's own voices."""

RESERVED = OWN_VOICE | {BASE, *ANY_VOICE}
"""What would never, or not always, be the voice that was meant."""
