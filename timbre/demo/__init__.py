"""Speech that needs no recording: what the demonstration and the tests work on."""
