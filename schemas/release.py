"""How does a changed schema become part of the contract? `python -m schemas.release` adds it to the lock."""

from pathlib import Path

from schemas import LOCK, PARTS, RELEASED, Released, avro, read_lock, source_texts

HEAD = """\
# Every version of every record that travels, ever released: fingerprint (CRC-64-AVRO, as it travels) and full name.
# The last line of a name is what is written today. Lines are only ever added, by `python -m schemas.release`.
"""
ROOT = Path(__file__).parent


def travelling(root: Path) -> dict[str, avro.Named]:
    """Every record that travels, self-contained, by full name, as the sources below `root` say."""
    sources = {path: avro.parse(text) for path, text in source_texts(root).items()}
    library = {avro.full_name(named): named for named in sources.values()}
    return {
        avro.full_name(named): avro.inline(named, library)
        for path, named in sources.items()
        if not path.startswith(f"{PARTS}/")
    }


def release(root: Path) -> list[Released]:
    """Add what is new below `root` to its lock; the added lines are returned."""
    lock = read_lock(root) if (root / LOCK).exists() else ()
    today = {line.name: line.fingerprint for line in lock}
    added: list[Released] = []
    for name, schema in travelling(root).items():
        fingerprint = avro.fingerprint(schema)
        if today.get(name) != fingerprint:
            added.append(Released(fingerprint, name))
            (root / RELEASED).mkdir(exist_ok=True)
            (root / RELEASED / f"{fingerprint}.avsc").write_text(avro.render(schema) + "\n", encoding="utf-8")
    lines = "".join(f"{line.fingerprint} {line.name}\n" for line in (*lock, *added))
    (root / LOCK).write_text(HEAD + lines, encoding="utf-8")
    return added


if __name__ == "__main__":
    release(ROOT)
