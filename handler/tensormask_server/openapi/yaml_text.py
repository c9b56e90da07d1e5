"""A tree as YAML for people: long texts are folded, and nothing is an alias."""

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the parameter's name is PyYAML's
        return True


def yaml_text(tree: Any) -> str:
    """Writes a tree of JSON's types as YAML."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text
