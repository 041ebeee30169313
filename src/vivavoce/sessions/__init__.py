"""What a session is: the meeting of a call's evidence, its speaker and its watchlist."""
