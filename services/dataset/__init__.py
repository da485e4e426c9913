"""The dataset service: recordings in, transcribed segments out."""
