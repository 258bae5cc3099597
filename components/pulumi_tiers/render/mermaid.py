"""What every picture in Mermaid needs: ids, and labels that mean nothing but themselves."""

import re
from collections.abc import Sequence


class Ids(dict[str, str]):
    """Words that no parser minds, one per key."""

    def __missing__(self, key: str) -> str:
        word = re.sub(r"[^a-z0-9]+", "_", key.lower())
        # Two keys may become the same word.
        while word in self.values():
            word += "_"
        self[key] = word
        return word


def label(lines: Sequence[str]) -> str:
    """The lines as a quoted text. Mermaid's own escapes; a number sign begins one."""
    escapes = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"})
    return '"' + "<br/>".join(line.translate(escapes) for line in lines) + '"'
