"""Engines: arrays in, arrays out, shared by all calls; the only place with ONNX Runtime."""
