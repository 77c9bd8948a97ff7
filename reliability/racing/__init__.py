"""Races: cancels, kills, resizes and waits at random moments."""
