"""The speaker model's calibration, and the comparisons that it is measured on."""
