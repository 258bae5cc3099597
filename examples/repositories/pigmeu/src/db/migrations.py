"""Stands for the migrations."""


def run_migrations() -> None:
    """There is nothing to migrate."""
