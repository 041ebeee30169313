"""vivavoce: callers authenticated by voice, fraud caught in real time."""

__version__ = "0.1.0"
