"""Samples in, samples or features out: pure array arithmetic (recording.py alone opens files)."""
