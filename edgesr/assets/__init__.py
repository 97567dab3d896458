"""Weights trained by this project (safetensors) with their model cards (JSON)."""
