"""The two environments that the documents tell of."""

from pulumi_tiers.model.base import Word


class Environment(Word):
    """Which of a system's documented environments."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"
