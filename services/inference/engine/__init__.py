"""The engine: everything that needs the model. Only `interface` can be imported without torch."""
