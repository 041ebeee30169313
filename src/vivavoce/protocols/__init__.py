"""Wire formats of call audio, sans I/O: bytes and messages in, events out."""
