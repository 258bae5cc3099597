"""Stands for the application's API."""
