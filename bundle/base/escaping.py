"""Text from an untrusted file, made safe to print: it cannot move the cursor, hide words or reverse them."""

import unicodedata

_KEPT = "\n\t"
_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # controls, bidi marks, surrogates, line separators


def escaped(text: str) -> str:
    """Return ``text`` with each character that steers a terminal as ``\\u`` and hex digits, JSON's own escape; lines and tabs stay.

    A JSON document stays one with the same value, for such a character occurs inside its strings only.
    """
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _CATEGORIES:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[start : start + 2].hex()}" for start in range(0, len(units), 2))
