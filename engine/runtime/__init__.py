"""Who fetches turns and activities, runs them and acknowledges them? The shell."""
