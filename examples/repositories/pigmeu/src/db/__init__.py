"""Stands for the application."""
