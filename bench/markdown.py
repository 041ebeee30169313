"""Rows and cells of the reports."""

from collections.abc import Sequence

import numpy as np

from vivavoce.scoring.metrics import Labels, clopper_pearson


def row(*cells: object) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def share(flags: Sequence[bool] | Labels) -> str:
    """The share of flags that are up, with its interval of 95 % by Clopper and Pearson."""
    if not len(flags):
        return "none"
    found = clopper_pearson(int(np.count_nonzero(flags)), len(flags))
    return f"{found.value:.1%} ({found.low:.1%}..{found.high:.1%})"
