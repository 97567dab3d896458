"""Training recipe, data and loop. Imports torch: load it late."""
