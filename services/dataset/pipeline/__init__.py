"""The jobs of the dataset service, one module each; every one reads top to bottom as the data flows."""
