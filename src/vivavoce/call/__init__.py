"""A live call: pure call machine, bounded inbox, runner."""
