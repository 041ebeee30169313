"""What the demonstration speaks with: recorded people and a synthetic voice.

Only the voices; the calls themselves are made by `vivavoce demo` in the command line layer.
"""
