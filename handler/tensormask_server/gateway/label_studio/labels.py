"""Which label each class of a network has in a Label Studio project: by name, in any letter case."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensormask_server.gateway.errors import bad_request
from tensormask_server.gateway.label_studio.config import Control
from tensormask_server.printable import quoted

MOST_NAMED = 20  # labels or classes in a message


@dataclass(frozen=True)
class Labelling:
    """What one control gets of a network."""

    control: Control
    labels: dict[str, str]  # by the name of the class, as the network has it; at least one
    classes: tuple[int, ...]  # the class numbers of these names; () if all classes of the network are among them


def labellings(controls: Sequence[Control], classes: Sequence[str]) -> list[Labelling]:
    """Matches labels with classes.

    A class belongs to one control of each image, the first that has a label for it. So no instance has two regions.

    Args:
        controls: of a project, the best tools first.
        classes: the network's names, by class number.

    Returns:
        One for each control that has a label for a class, at least one.

    Raises:
        GatewayError: no label is a class: 400.
    """
    numbers_of: dict[str, list[int]] = {}
    for number, name in enumerate(classes):
        numbers_of.setdefault(name.casefold(), []).append(number)
    found = []
    taken: set[tuple[str, int]] = set()  # image and class number
    for control in controls:
        own: dict[int, str] = {}  # labels by class number
        for label in control.labels:
            for folded in label.folded_classes():
                for number in numbers_of.get(folded, ()):
                    if (control.image, number) not in taken:
                        own.setdefault(number, label.name)
        taken.update((control.image, number) for number in own)
        if own:
            labels = {classes[number]: label for number, label in own.items()}
            found.append(Labelling(control, labels, tuple(sorted(own)) if len(own) < len(classes) else ()))
    if not found:
        names = dict.fromkeys(label.name for control in controls for label in control.labels)
        raise bad_request(
            f"no label of the project is a class of the network: the labels are {_listed(list(names)) or 'none'}",
            f"labels such as {_listed(classes)}; or the attribute predicted_values of a label, with names of classes",
        )
    return found


def unmatched(controls: Sequence[Control], classes: Sequence[str]) -> str:
    """The labels that are no class of the network, for a note; "" if there is none."""
    known = {name.casefold() for name in classes}
    labels = (label for control in controls for label in control.labels)
    return _listed(list(dict.fromkeys(each.name for each in labels if known.isdisjoint(each.folded_classes()))))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} others" if len(names) > MOST_NAMED else ""
    return ", ".join(quoted(name) for name in names[:MOST_NAMED]) + more
