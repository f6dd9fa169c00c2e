"""Fills an SQLite store with completed calls: copies, under random ids, of one that Ledger recorded itself."""
import sqlite3

_OURS = {"seq": "{first} + n", "id": "randomblob(32)", "version": "{first} + n", "claim_version": "{first} + n", "generation": "{first} + n"}


def _copy(db, table, key, seq, first, count):
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    if "seq" not in columns:
        raise SystemExit(f"bench/fill.py knows no table {table} without seq: bring it up to date with the store's schema")
    values = ", ".join(_OURS[c].format(first=first) if c in _OURS else f"t.{c}" for c in columns)
    db.execute(f"""WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
                   INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM numbers, {table} t WHERE t.{key} = {seq}""")


def fill(path, count):
    """Adds `count` records. Nobody else may have the store open. Indexes are made anew at the end, which is faster."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY", "threads = 2"):
        db.execute(f"PRAGMA {pragma}")
    seq, = db.execute("SELECT max(seq) FROM records").fetchone()
    first, = db.execute("SELECT version FROM meta").fetchone()
    indexes = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    # A log as long as the store would be written twice.
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("BEGIN")
    for name, _ in indexes:
        db.execute(f"DROP INDEX {name}")
    _copy(db, "records", "seq", seq, first, count)
    _copy(db, "answers", "seq", seq, first, count)
    for _, sql in indexes:
        db.execute(sql)
    db.execute(f"UPDATE meta SET version = {first + count}")
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
