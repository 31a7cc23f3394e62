"""The notices that the licences of others ask to be passed on: of each crate, and of libtorch with what came with it.

Texts that are the same to the letter stand once, with the names of all that they are of.
"""

from __future__ import annotations

from pathlib import Path

from .crates import Crate

RULE = "=" * 100
HEAD = """Third-party notices

{name} is under the MIT licence (LICENSE). It is compiled from the crates below and comes with libtorch, whose licences follow.
The models have their licences beside them, in models/.

"""


def text(title: str, crates: list[Crate], licences: Path) -> str:
    """All notices. `licences` has a folder for each library that lies beside the program."""
    foreign = [crate for crate in crates if not crate.ours]
    parts = [HEAD.format(name=title), table(foreign)]
    for words, names in grouped(foreign):
        parts += [f"\n{RULE}\n{', '.join(names)}\n{RULE}\n\n", words, "\n"]
    for file in sorted(path for path in licences.rglob("*") if path.is_file()):
        parts += [f"\n{RULE}\n{file.relative_to(licences)}\n{RULE}\n\n", clean(file), "\n"]
    return "".join(parts)


def table(crates: list[Crate]) -> str:
    """A line for each crate; those without a text of their own say by whom they are."""
    lines = []
    for crate in crates:
        line = f"{crate.name} {crate.version}: {crate.licence}"
        if not crate.texts():
            by = ", ".join(crate.authors) or "its authors"
            line += f", copyright by {by}{f' ({crate.repository})' if crate.repository else ''}"
        lines.append(line + "\n")
    return "".join(lines)


def grouped(crates: list[Crate]) -> list[tuple[str, list[str]]]:
    """Texts, and what each is of."""
    names: dict[str, list[str]] = {}
    for crate in crates:
        for file in crate.texts():
            own = names.setdefault(clean(file), [])
            name = f"{crate.name} {crate.version}"
            if name not in own:
                own.append(name)
    return list(names.items())


def clean(file: Path) -> str:
    """A text without blanks that nobody sees, so that what reads the same is the same."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip() + "\n"
