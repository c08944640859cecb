"""Data with known ground truth: generated corpora, small packaged sets, hub loaders for the full mode."""
