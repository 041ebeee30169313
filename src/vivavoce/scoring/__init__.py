"""Pure arithmetic on scores: calibration, scales, decisions, error rates."""
