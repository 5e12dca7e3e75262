"""How does a changed schema become part of the contract? `python -m schemas.release` adds it to the lock."""

import sys
from pathlib import Path

from schemas import LOCK, PARTS, RELEASED, Released, avro, read_lock, source_texts
from schemas.compatibility import lock_broken

HEAD = """\
# Every version of every record that travels, ever released: fingerprint (CRC-64-AVRO, as it travels) and full name.
# The last line of a name is what is written today. Lines are only ever added, by `python -m schemas.release`.
"""
ROOT = Path(__file__).parent


class Incompatible(Exception):
    """A changed schema may not be released; the text says why, a line a reason."""


def travelling(root: Path) -> dict[str, avro.Named]:
    """Every record that travels, self-contained, by full name, as the sources below `root` say."""
    sources = {path: avro.parse(text) for path, text in source_texts(root).items()}
    library = {avro.full_name(named): named for named in sources.values()}
    return {
        avro.full_name(named): avro.inline(named, library)
        for path, named in sources.items()
        if not path.startswith(f"{PARTS}/")
    }


def released_texts(root: Path) -> dict[str, str]:
    """Every text below `root` that was released, by the fingerprint it is filed under."""
    return {file.stem: file.read_text(encoding="utf-8") for file in (root / RELEASED).glob("*.avsc")}


def broken(root: Path) -> list[str]:
    """What does not fit below `root`, a sentence each; empty if all does."""
    return lock_broken(read_lock(root), released_texts(root), travelling(root))


def release(root: Path) -> list[Released]:
    """Add what is new below `root` to its lock, and return the lines added. Nothing is written if it may not be.

    Raises:
        Incompatible: A record could not be read any more.
    """
    lock, texts, today = read_lock(root), released_texts(root), travelling(root)
    newest = {line.name: line.fingerprint for line in lock}
    added = {
        Released(avro.fingerprint(schema), name): avro.render(schema) + "\n"
        for name, schema in today.items()
        if newest.get(name) != avro.fingerprint(schema)
    }
    lines = (*lock, *added)
    if findings := lock_broken(lines, texts | {line.fingerprint: text for line, text in added.items()}, today):
        raise Incompatible("\n".join(findings))
    for line, text in added.items():
        (root / RELEASED / f"{line.fingerprint}.avsc").write_text(text, encoding="utf-8")
    (root / LOCK).write_text(HEAD + "".join(f"{it.fingerprint} {it.name}\n" for it in lines), encoding="utf-8")
    return list(added)


def main() -> int:
    """Release what changed; 1 if it may not be."""
    try:
        added = release(ROOT)
    except Incompatible as why:
        sys.stderr.write(f"{why}\n")
        return 1
    sys.stdout.write("".join(f"{line.fingerprint} {line.name}\n" for line in added) or "nothing is new\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
