"""What nobody knows where no engine runs the program: encrypted values, providers' answers.

A placeholder stands for each. What judges a value by its form lets placeholders pass.
"""

import re

# Only characters that percent-encoding leaves alone: a placeholder survives inside a URL.
PLACEHOLDER = re.compile(r"__(secret|later)\.([A-Za-z0-9_.-]+?)__")
"""Its kind and its name."""


def is_unknown(value: object) -> bool:
    """Whether a text holds a placeholder."""
    return isinstance(value, str) and PLACEHOLDER.search(value) is not None
