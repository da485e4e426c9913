"""Run by Alembic: applies migrations on the connection that `services.runtime.database.migrate` hands over."""

from alembic import context

from services.runtime.jobs.model import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
