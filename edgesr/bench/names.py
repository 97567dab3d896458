"""Names of files made of names from anywhere."""

LONGEST_BYTES = 100
"""With a suffix well within the 255 that file systems take."""


def file_name(text: str, otherwise: str) -> str:
    """`text` with a dash for whatever is no letter, digit, dash or dot, as a name that stays in its folder and is not
    hidden; `otherwise` where nothing is left."""
    plain = "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in text).strip(".")
    return plain.encode()[:LONGEST_BYTES].decode(errors="ignore") or otherwise
