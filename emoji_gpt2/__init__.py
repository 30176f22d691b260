"""Fine-tune GPT-2 with PyTorch Lightning so that text becomes emoji."""

__version__ = "0.1.0"
