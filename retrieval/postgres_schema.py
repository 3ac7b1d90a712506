"""The bank's tables in a PostgreSQL schema of their own, and their migrations. Needs the extension pgvector.

Columns mean what they mean in `retrieval.schema`. Texts are compared byte by byte, as SQLite does. `bucket` names who
competes with whom; `postings` holds the features of masked questions, one row each, so that a word is found by index.
"""

from mia_skill.core.errors import BankError
from retrieval.postgres import PostgresTables

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "SEPARATOR", "prepare"]

SEPARATOR = "\x1f"
"""Between the parts of a bucket's name; no cleaned text holds it."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE state (
        one integer PRIMARY KEY CHECK (one = 1),
        bank_id text NOT NULL,
        change bigint NOT NULL,
        forgotten_below bigint NOT NULL,
        embedder text,
        dimension integer
    );
    CREATE TABLE units (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        namespace text COLLATE "C" NOT NULL,
        modality text COLLATE "C" NOT NULL,
        category text COLLATE "C" NOT NULL,
        outcome text COLLATE "C",
        question text COLLATE "C" NOT NULL,
        caption text COLLATE "C",
        workflow text COLLATE "C" NOT NULL,
        plan text COLLATE "C" NOT NULL,
        uses bigint NOT NULL,
        wins bigint NOT NULL,
        steps bigint NOT NULL,
        feedback text NOT NULL,
        provenance text NOT NULL,
        created_at text COLLATE "C" NOT NULL,
        updated_at text COLLATE "C" NOT NULL,
        change bigint NOT NULL,
        status text COLLATE "C" NOT NULL DEFAULT 'active',
        tainted integer NOT NULL DEFAULT 0,
        digest text NOT NULL DEFAULT '',
        seen_uses double precision NOT NULL DEFAULT 0,
        seen_wins double precision NOT NULL DEFAULT 0,
        seen_at double precision NOT NULL DEFAULT 0,
        seen_in text NOT NULL DEFAULT '',
        bucket text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
            namespace || E'\\x1f' || modality || E'\\x1f' || coalesce(
                CASE status WHEN 'active' THEN outcome WHEN 'revoked' THEN NULL ELSE outcome || ':' || status END, '')
        ) STORED
    );
    CREATE INDEX units_by_namespace ON units (namespace);
    CREATE TABLE pairs (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        namespace text COLLATE "C" NOT NULL,
        modality text COLLATE "C" NOT NULL,
        category text COLLATE "C" NOT NULL,
        question text COLLATE "C" NOT NULL,
        caption text COLLATE "C",
        good_plan text NOT NULL,
        bad_plan text NOT NULL,
        created_at text COLLATE "C" NOT NULL,
        change bigint NOT NULL
    );
    CREATE INDEX pairs_by_question ON pairs USING hash (question);
    CREATE TABLE vectors (
        owner text COLLATE "C" NOT NULL,
        seq bigint NOT NULL,
        bucket text COLLATE "C" NOT NULL,
        question vector NOT NULL,
        caption vector,
        masked bytea,
        PRIMARY KEY (owner, seq)
    );
    ALTER TABLE vectors ALTER COLUMN question SET STORAGE PLAIN;
    CREATE INDEX vectors_by_bucket ON vectors (owner, bucket);
    CREATE TABLE postings (
        bucket text COLLATE "C" NOT NULL,
        feature bigint NOT NULL,
        seq bigint NOT NULL,
        impact real NOT NULL
    );
    CREATE INDEX postings_by_feature ON postings (bucket, feature) INCLUDE (seq, impact);
    CREATE INDEX postings_by_seq ON postings (seq);
    CREATE TABLE staged_vectors (
        embedder text NOT NULL,
        owner text NOT NULL,
        seq bigint NOT NULL,
        question vector NOT NULL,
        caption vector,
        masked bytea,
        PRIMARY KEY (embedder, owner, seq)
    );
    CREATE TABLE forgotten (owner text NOT NULL, seq bigint NOT NULL, change bigint NOT NULL);
    CREATE TABLE lineage (
        child text COLLATE "C" NOT NULL, parent text COLLATE "C" NOT NULL, PRIMARY KEY (child, parent)
    );
    CREATE INDEX lineage_by_parent ON lineage (parent);
    CREATE TABLE marks (
        mark text COLLATE "C" NOT NULL, unit text COLLATE "C" NOT NULL, PRIMARY KEY (mark, unit)
    );
    CREATE TABLE revoked (mark text COLLATE "C" PRIMARY KEY, at text NOT NULL);
    CREATE TABLE trials (
        seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        task text NOT NULL,
        namespace text NOT NULL,
        category text NOT NULL,
        arm text NOT NULL,
        shown text NOT NULL,
        withheld text NOT NULL,
        randomised integer NOT NULL,
        won integer NOT NULL,
        judged_by text NOT NULL,
        at text NOT NULL,
        change bigint NOT NULL
    );
    CREATE INDEX trials_by_task ON trials (task);
    CREATE TABLE tallies (
        scope text COLLATE "C" NOT NULL,
        namespace text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        shown bigint NOT NULL,
        shown_wins bigint NOT NULL,
        withheld bigint NOT NULL,
        withheld_wins bigint NOT NULL,
        PRIMARY KEY (scope, namespace, key)
    );
    CREATE TABLE backing (unit text NOT NULL, task text NOT NULL, won integer NOT NULL, PRIMARY KEY (unit, task));
    CREATE TABLE log (
        number bigint PRIMARY KEY,
        at text NOT NULL,
        action text NOT NULL,
        subject text COLLATE "C" NOT NULL,
        detail text NOT NULL,
        digest text NOT NULL,
        previous text NOT NULL,
        hash text NOT NULL
    );
    CREATE INDEX log_by_subject ON log (subject);
    CREATE TABLE draws (key text PRIMARY KEY, namespace text NOT NULL, draw text NOT NULL, at text NOT NULL);
    CREATE FUNCTION keep_log() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the log is append-only'; END $$;
    CREATE TRIGGER log_is_kept BEFORE DELETE OR UPDATE ON log FOR EACH ROW EXECUTE FUNCTION keep_log();
    CREATE FUNCTION move_unit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE vectors SET bucket = NEW.bucket WHERE owner = 'unit' AND seq = NEW.seq;
            UPDATE postings SET bucket = NEW.bucket WHERE seq = NEW.seq;
            RETURN NULL;
        END $$;
    CREATE TRIGGER unit_moves AFTER UPDATE ON units
        FOR EACH ROW WHEN (OLD.bucket IS DISTINCT FROM NEW.bucket) EXECUTE FUNCTION move_unit();
    CREATE FUNCTION drop_unit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN DELETE FROM postings WHERE seq = OLD.seq; RETURN NULL; END $$;
    CREATE TRIGGER unit_goes AFTER DELETE ON units FOR EACH ROW EXECUTE FUNCTION drop_unit();
    CREATE FUNCTION mia_has(needle text, VARIADIC texts text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
        SELECT coalesce(bool_or(position(needle IN {folded}) > 0), false) FROM unnest(texts) AS one
    $$;
    INSERT INTO state VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, 0, NULL, NULL);
    """,
    """
    CREATE TABLE judges (judge text COLLATE "C" PRIMARY KEY, standing text NOT NULL);
    CREATE TABLE held (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        judge text COLLATE "C" NOT NULL,
        seen bigint NOT NULL,
        proven integer NOT NULL,
        change text NOT NULL,
        at text NOT NULL
    );
    """,
)
"""Number n takes a schema from version n-1 to n. Never edited once released; changes are appended."""

SCHEMA_VERSION = len(MIGRATIONS)
LOCK = 0x4D494162
"""Of the advisory lock under which a schema is made."""


def prepare(rows: PostgresTables, schema: str) -> None:
    """Make the schema, or take it to this version. The caller turns errors into ours.

    Raises:
        BankError: it was made by a newer version.
    """
    rows.execute("BEGIN")
    try:
        rows.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
        if rows.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone() is None:
            rows.execute("CREATE EXTENSION vector SCHEMA public")
        rows.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        rows.execute(f'CREATE TABLE IF NOT EXISTS "{schema}".schema_version (version integer NOT NULL)')
        found = rows.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise BankError(
                f"the schema {schema!r} was written by a newer mia-skill (schema {found}, this one knows "
                f"{SCHEMA_VERSION}): upgrade mia-skill"
            )
        for number in range(found, SCHEMA_VERSION):
            rows.script(MIGRATIONS[number].replace("{folded}", _folded(rows.connection.info.server_version)))
            rows.execute("INSERT INTO schema_version VALUES (?)", (number + 1,))
        rows.execute("COMMIT")
    finally:
        if not rows.connection.closed and rows.connection.info.transaction_status != 0:
            rows.execute("ROLLBACK")


def _folded(version: int) -> str:
    """A text without case, in every script, in the best way this server has."""
    if version >= 180_000:
        return 'casefold(one COLLATE "pg_unicode_fast")'
    return f'lower(one COLLATE "{"pg_c_utf8" if version >= 170_000 else "und-x-icu"}")'
