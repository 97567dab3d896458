"""Quantization-aware training: from float weights and a recipe to a better recipe.

settings: what a run does. photos: what it sees. state: what a step changes. loop: the steps. run: the whole way.
"""
