"""From Amazon's Voice ID to here: speakers, and the recordings that customers are enrolled from."""
