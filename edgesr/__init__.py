"""edgesr: super-resolution networks, from a model's name to a verified artifact on a device."""

__version__ = "0.1.0"
