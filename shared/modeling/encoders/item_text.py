"""The text of an item, as every text encoder gets it."""

from collections.abc import Mapping, Sequence

# Part of every text encoder's revision: raise it when `item_text` changes.
ITEM_TEXT_VERSION = 1


def item_text(
    title: str | None = None,
    description: str | None = None,
    categories: Sequence[str] = (),
    brand: str | None = None,
    attributes: Mapping[str, str | bool | float] | None = None,
) -> str:
    """One line a fact, the most telling first, because encoders cut long texts at the end.

    Attributes come in the order of their names and not in that of the request, so that equal items
    have equal vectors. Of an item without any text: the empty string.
    """
    lines = [_one_line(title)]
    if brand and _one_line(brand):
        lines.append(f"Brand: {_one_line(brand)}")
    named = [_one_line(category) for category in categories]
    if any(named):
        lines.append(f"Categories: {', '.join(filter(None, named))}")
    for name, value in sorted((attributes or {}).items()):
        lines.append(f"{_one_line(name)}: {_value(value)}")
    lines.append(_one_line(description))
    return "\n".join(filter(None, lines))


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def _value(value: str | bool | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return _one_line(str(value))
