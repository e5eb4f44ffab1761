"""BYOL: Bootstrap Your Own Latent."""
__version__ = "0.1.0"
