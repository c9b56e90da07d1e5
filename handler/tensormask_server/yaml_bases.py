"""The files that a configuration names as its `_BASE_`: others, over which it is merged."""

from collections.abc import Mapping
from typing import Any

KEY = "_BASE_"
# Of a configuration and its bases together. detectron2's have some thousands of bytes, and PyYAML's parser can take
# 40 s for 1 MB. Its faster parser, in C, can't be used: a deeply nested file ends the whole process there.
MAX_BYTES = 1 << 16


def base_names(tree: Mapping[str, Any]) -> list[Any]:
    """The names of the bases, as they stand in the file: one or a list of them, not checked.

    Args:
        tree: of one configuration, parsed.

    Returns:
        An empty list where there is no base.
    """
    if KEY not in tree:
        return []
    names = tree[KEY]
    return names if isinstance(names, list) else [names]
