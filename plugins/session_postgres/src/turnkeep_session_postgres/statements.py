"""The SQL of the calls, as constant text for one schema.

By hand: composing and adapting a statement costs more than the server takes to run it. A test runs
each on tables made from `schema.py`. In brackets stand the parameters.

A single statement sees one snapshot. An UPDATE of a head that names version and incarnation waits
for whoever writes it at that moment, and then looks again: it changes the row that the caller
expects, or nothing. So where it succeeds, nobody has written since the snapshot.
"""

# ruff: noqa: S608  # what is put in are names of tables, quoted, and constants; values never
from __future__ import annotations

from functools import cache
from typing import Final

from turnkeep_session_postgres.values import (
    BYTEA,
    BYTEAS,
    INT8,
    INT8S,
    TEXT,
    TEXTS,
    Statement,
    text,
)

COLUMNS: Final = (
    "id, user_id, incarnation, version, seq, base, meta, created_ms, updated_ms, expires_ms,"
    " ttl_ms, commit_id"
)
"""What a head is made of, in the order of `rows.Row`."""

CLOCK: Final = "floor(extract(epoch FROM now()) * 1000)::bigint"
"""The server's time in milliseconds since 1970 UTC, as of the statement's beginning."""

_NULLS: Final = (
    "NULL::text, NULL::text, NULL::bytea, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bytea,"
    " NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bytea"
)

MOST: Final = 2**61
"""Rows, or a seq: more than there are, and twice it still fits a bigint."""


def quoted(name: str) -> str:
    """Quote a name, so that it is nothing but one."""
    return '"' + name.replace('"', '""') + '"'


class Statements:
    """All statements for the tables of one schema.

    `search` tells that there is a table of texts as well. `clock` is an expression for the time in
    milliseconds; only tests have another one.
    """

    def __init__(self, schema: str, *, search: bool = False, clock: str = CLOCK) -> None:
        place = quoted(schema)
        self.session = f"{place}.session"
        self.state = f"{place}.state"
        self.record = f"{place}.record"
        self.words = f"{place}.record_text"
        self.words_name = text(self.words)
        self.search = search
        self.now = clock
        self._live = f"(expires_ms IS NULL OR expires_ms > {clock})"
        self._make_reading()
        self._make_removing()
        self._make_writing()

    def add_texts(self) -> None:
        """Change and remove texts, too, from now on: somebody has made their table."""
        self.search = True
        self._make_removing()
        self._make_writing()

    def _make_reading(self) -> None:
        self.head = Statement(
            f"SELECT {COLUMNS}, NOT {self._live} FROM {self.session} WHERE id = $1",
            TEXT,
        )
        """(id). The last column tells that it has expired."""
        self.load = self._load("", "st.data")
        """(id, after or NULL, limit). The head's row has seq 0, the state, the head, the time."""
        same = "version = $4 AND incarnation = $5"
        self.load_unless = self._load(
            f" AND NOT ({same})", f"CASE WHEN {same} THEN NULL ELSE st.data END", INT8, BYTEA
        )
        """(id, after or NULL, limit, version, incarnation): of that revision only the head."""
        self.seqs = Statement(
            f"SELECT seq FROM {self.record} WHERE session_id = $1 AND seq BETWEEN $2 AND $3"
            " ORDER BY seq",
            TEXT,
            INT8,
            INT8,
        )
        """(id, first, last): the numbers of the records that are there."""
        self.one_record = Statement(
            f"SELECT data FROM {self.record} WHERE session_id = $1 AND seq = $2", TEXT, INT8
        )
        """(id, seq)."""

    def _load(self, unless: str, state: str, *types: int) -> Statement:
        # The first part is read first, since rows of a UNION ALL come in its order; `load` sorts
        # where a server does otherwise.
        return Statement(
            f"WITH h AS (SELECT {COLUMNS}, {state} AS state, {self.now} AS now,"
            " CASE WHEN $2::bigint IS NULL THEN greatest(base, 1) ELSE $2 + 1 END AS first"
            f" FROM {self.session} AS s LEFT JOIN {self.state} AS st ON st.session_id = s.id"
            f" WHERE id = $1 AND {self._live})"
            f" SELECT 0::bigint, state, {COLUMNS}, now FROM h"
            f" UNION ALL SELECT r.seq, r.data, {_NULLS}, NULL::bigint"
            f" FROM h JOIN {self.record} AS r ON r.session_id = $1"
            " AND r.seq >= h.first AND r.seq <= h.seq AND r.seq < h.first + $3"
            f" WHERE true{unless}",
            TEXT,
            INT8,
            INT8,
            *types,
        )

    def _make_removing(self) -> None:
        self.lock = Statement(
            f"SELECT {COLUMNS} FROM {self.session} WHERE id = $1 AND {self._live} FOR UPDATE",
            TEXT,
        )
        """(id)."""
        self.lock_expired = Statement(
            f"SELECT id, seq FROM {self.session} WHERE id = $1 AND NOT {self._live} FOR UPDATE",
            TEXT,
        )
        """(id)."""
        self.expired = Statement(
            f"SELECT id, seq FROM {self.session}"
            f" WHERE expires_ms IS NOT NULL AND expires_ms <= {self.now}"
            " ORDER BY expires_ms LIMIT $1 FOR UPDATE SKIP LOCKED",
            INT8,
        )
        """(limit)."""
        tables = (self.record, self.state, *([self.words] if self.search else []), self.session)
        self.remove = [
            Statement(
                f"DELETE FROM {table} WHERE {'id' if table == self.session else 'session_id'}"
                " = ANY($1)",
                TEXTS,
            )
            for table in tables
        ]
        """(ids) each, after their heads were locked: a statement of its own sees what was appended
        while the lock was waited for."""
        self.shorten = [
            Statement(f"DELETE FROM {table} WHERE session_id = $1 AND seq > $2", TEXT, INT8)
            for table in tables
            if table in {self.record, self.words}
        ] + [
            Statement(
                f"UPDATE {self.session} SET seq = $2, expires_ms = 0 WHERE id = $1", TEXT, INT8
            )
        ]
        """(id, the last seq to keep) each: a part of a session that has expired, and has so from
        then on for every clock, since after a failover another may be behind."""
        self.find_texts = Statement("SELECT to_regclass($1) IS NOT NULL", TEXT)
        """(`words_name`): whether there is a table of texts."""

    def _make_writing(self) -> None:
        new = (
            f"INSERT INTO {self.session} ({COLUMNS}) {{values}} ON CONFLICT (id) DO NOTHING"
            f" RETURNING {COLUMNS}"
        )
        created = new.format(
            values=f"VALUES ($1, $2, $3, 0, 0, 0, ''::bytea, {self.now}, {self.now},"
            f" {self.now} + $4, $4, $5)"
        )
        types = (TEXT, TEXT, BYTEA, INT8, BYTEA)
        sweep = f"DELETE FROM {self.words} WHERE session_id = $1"
        self.sweep_words = Statement(sweep, TEXT)
        """(id): what somebody left behind who knew of no texts."""
        swept = f", swept AS ({sweep} AND EXISTS (SELECT FROM made))" if self.search else ""
        self.create = Statement(
            f"WITH made AS ({created}), kept AS (INSERT INTO {self.state} (session_id, data)"
            f" SELECT id, $6 FROM made){swept} SELECT {COLUMNS} FROM made",
            *types,
            BYTEA,
        )
        """(id, user, incarnation, ttl, commit id, state)."""
        self.create_head = Statement(created, *types)
        """(id, user, incarnation, ttl, commit id)."""
        self.create_state = Statement(
            f"INSERT INTO {self.state} (session_id, data) VALUES ($1, $2)", TEXT, BYTEA
        )
        """(id, state)."""

        copied = (
            "$1, $2, $3, 0, $8::bigint, $7::bigint, $6::bytea, {now}, {now}, {now} + $4, $4, $5"
        )
        values = copied.format(now=self.now)
        count = (
            f"(SELECT count(*) FROM {self.record} WHERE session_id = $9 AND seq BETWEEN 1 AND $8)"
        )
        source = (
            f"SELECT {values} FROM {self.session} WHERE id = $9 AND incarnation = $10"
            f" AND seq >= $8 AND {self._live} AND {count} = $8"
        )
        copy = (
            f"INSERT INTO {self.record} (session_id, seq, data) SELECT $1, seq, data"
            f" FROM {self.record} WHERE session_id = $9 AND seq BETWEEN 1 AND $8"
        )
        words = ""
        if self.search:
            copied_words = self._copy_words("$1, $3", "$9, $10", "$8")
            words = f"{swept}, said AS ({copied_words} AND EXISTS (SELECT FROM made))"
        head = (*types, BYTEA, INT8, INT8, TEXT, BYTEA)
        self.fork = Statement(
            f"WITH made AS ({new.format(values=source)}),"
            f" kept AS (INSERT INTO {self.state} (session_id, data) SELECT id, $11 FROM made),"
            f" copied AS ({copy} AND EXISTS (SELECT FROM made)){words}"
            f" SELECT {COLUMNS} FROM made",
            *head,
            BYTEA,
        )
        """(id, user, incarnation, ttl, commit id, meta, base, upto, source, its incarnation,
        state)."""
        self.fork_head = Statement(new.format(values=source), *head)
        """As `fork`, without the state."""
        self.copy_records = Statement(
            f"INSERT INTO {self.record} (session_id, seq, data) SELECT $1, seq, data"
            f" FROM {self.record} WHERE session_id = $2 AND seq BETWEEN 1 AND $3",
            TEXT,
            TEXT,
            INT8,
        )
        """(id, source, upto)."""
        self.copy_words = Statement(
            self._copy_words("$1, $4", "$2, $5", "$3"), TEXT, TEXT, INT8, BYTEA, BYTEA
        )
        """(id, source, upto, incarnation, that of the source)."""
        self.append = cache(self._append)
        self.append_head = cache(self._append_head)
        self.insert = Statement(
            f"INSERT INTO {self.record} (session_id, seq, data) SELECT $1, $2 + n, d"
            " FROM unnest($3::bytea[]) WITH ORDINALITY AS u (d, n)",
            TEXT,
            INT8,
            BYTEAS,
        )
        """(id, the seq before, data)."""
        self.insert_words = Statement(
            f"INSERT INTO {self.words} (session_id, incarnation, seq, body, words)"
            f" SELECT $1, $4, $2 + n, d, {WORDS}"
            " FROM unnest($3::text[]) WITH ORDINALITY AS u (d, n) WHERE d IS NOT NULL",
            TEXT,
            INT8,
            TEXTS,
            BYTEA,
        )
        """(id, the seq before, texts, incarnation)."""
        self.set_state = Statement(
            f"UPDATE {self.state} SET data = $2 WHERE session_id = $1", TEXT, BYTEA
        )
        """(id, state)."""
        self.erase = cache(self._erase)
        self.erase_head = Statement(self._update("0", self._erasable), *_CHANGE, INT8S)
        """(what every change has, seqs)."""
        self.replace = Statement(self._replace, TEXT, INT8S, BYTEAS)
        """(id, seqs, data)."""
        self.forget = Statement(
            f"DELETE FROM {self.words} WHERE session_id = $1 AND seq = ANY($2)", TEXT, INT8S
        )
        """(id, seqs)."""

    def _copy_words(self, new: str, source: str, upto: str) -> str:
        """`new` and `source` are an id and an incarnation each."""
        return (
            f"INSERT INTO {self.words} (session_id, incarnation, seq, body, words)"
            f" SELECT {new}, seq, body, words FROM {self.words}"
            f" WHERE (session_id, incarnation) = ({source}) AND seq BETWEEN 1 AND {upto}"
        )

    def _update(self, count: str, more: str = "", *, ttl: str | None = None) -> str:
        """Give the fenced change of a head that gets `count` records.

        Without a ttl it sets no column of an index: `expires_ms` stays NULL.
        """
        expiry = (
            f"expires_ms = {self.now} + ttl_ms"
            if ttl is None
            else f"ttl_ms = {ttl}, expires_ms = {self.now} + {ttl}"
        )
        return (
            f"UPDATE {self.session} AS h SET version = version + 1, seq = seq + {count},"
            f" meta = coalesce($5, meta), base = coalesce($6, base), updated_ms = {self.now},"
            f" commit_id = $4, {expiry}"
            " WHERE id = $1 AND version = $2 AND incarnation = $3 AND commit_id <> $4"
            f" AND {self._live} AND ($6 IS NULL OR $6 BETWEEN 0 AND seq + {count}){more}"
            f" RETURNING {COLUMNS}"
        )

    def _append(self, *, state: bool, ttl: bool, texts: bool) -> Statement:
        """(what every change has, data; then ttl, state and texts, if there are)."""
        types = [*_CHANGE, BYTEAS]
        count = "cardinality($7::bytea[])"
        if ttl:
            types.append(INT8)
        parts = [
            f"changed AS ({self._update(count, ttl='$8' if ttl else None)})",
            (
                f"kept AS (INSERT INTO {self.record} (session_id, seq, data)"
                f" SELECT $1, seq - {count} + n, d FROM changed,"
                " unnest($7::bytea[]) WITH ORDINALITY AS u (d, n))"
            ),
        ]
        if state:
            types.append(BYTEA)
            parts.append(
                f"stated AS (UPDATE {self.state} SET data = ${len(types)}"
                " WHERE session_id = $1 AND EXISTS (SELECT FROM changed))"
            )
        if texts:
            types.append(TEXTS)
            parts.append(
                f"said AS (INSERT INTO {self.words} (session_id, incarnation, seq, body, words)"
                f" SELECT $1, incarnation, seq - {count} + n, d, {WORDS} FROM changed,"
                f" unnest(${len(types)}::text[]) WITH ORDINALITY AS u (d, n) WHERE d IS NOT NULL)"
            )
        return Statement(f"WITH {', '.join(parts)} SELECT {COLUMNS} FROM changed", *types)

    def _append_head(self, *, ttl: bool) -> Statement:
        """(what every change has, number of records; then ttl, if there is)."""
        types = [*_CHANGE, INT8, *([INT8] if ttl else [])]
        return Statement(self._update("$7", ttl="$8" if ttl else None), *types)

    @property
    def _erasable(self) -> str:
        """All seqs are of this session, and their records are there."""
        return (
            " AND NOT EXISTS (SELECT FROM unnest($7) AS u (n) WHERE n < 1 OR n > h.seq)"
            f" AND (SELECT count(*) FROM {self.record} AS r"
            " WHERE r.session_id = $1 AND r.seq = ANY($7)) = cardinality($7)"
        )

    @property
    def _replace(self) -> str:
        return (
            f"UPDATE {self.record} AS r SET data = d FROM unnest($2::bigint[], $3::bytea[])"
            " AS u (n, d) WHERE r.session_id = $1 AND r.seq = n"
        )

    def _erase(self, *, state: bool) -> Statement:
        """(what every change has, seqs, data; then state, if there is)."""
        done = "EXISTS (SELECT FROM changed)"
        replace = self._replace.replace("$3", "$8").replace("$2", "$7")
        parts = [
            f"changed AS ({self._update('0', self._erasable)})",
            f"erased AS ({replace} AND {done})",
        ]
        if self.search:
            parts.append(
                f"unsaid AS (DELETE FROM {self.words}"
                f" WHERE session_id = $1 AND seq = ANY($7) AND {done})"
            )
        if state:
            parts.append(
                f"stated AS (UPDATE {self.state} SET data = $9 WHERE session_id = $1 AND {done})"
            )
        return Statement(
            f"WITH {', '.join(parts)} SELECT {COLUMNS} FROM changed",
            *_CHANGE,
            INT8S,
            BYTEAS,
            *([BYTEA] if state else []),
        )


_CHANGE: Final = (TEXT, INT8, BYTEA, BYTEA, BYTEA, INT8)
"""(id, version, incarnation, commit id, meta or NULL, base or NULL): what every change has."""

INDEXED: Final = 100_000
"""Characters of a text that are searched. A tsvector holds 1 MB, which these never exceed."""

WORDS: Final = f"to_tsvector('simple', left(d, {INDEXED}))"
"""The words of a text `d`: of every language, as they are written."""
