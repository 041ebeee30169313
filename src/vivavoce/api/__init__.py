"""The AWS face: JSON 1.0 over one route, driven by the service description."""
