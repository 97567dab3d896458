"""The networks: one file per family, one table of facts (registry), and their weights."""
