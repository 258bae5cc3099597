"""The description: what a system is. Plain and validated; nothing of Pulumi here."""
