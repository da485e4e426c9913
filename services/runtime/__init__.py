"""The chassis every Timbre process boots on: server, errors, settings, object store, jobs and logging."""
