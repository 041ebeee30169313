"""How the shipped spoof detector is made: data, training, measurement, calibration."""
