"""Measurements beside peers. Not collected by default: they need the peers."""
