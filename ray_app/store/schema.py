"""The SQL tables, the same on SQLite and PostgreSQL. Times are POSIX seconds (UTC)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

# Keys compare byte by byte on both databases; PostgreSQL's locale order would differ from SQLite's.
KEY = String().with_variant(Text(collation="C"), "postgresql")

VERSION = 4  # of this layout; see store.migrate

metadata = MetaData()

layout = Table("layout", metadata, Column("version", Integer, primary_key=True, autoincrement=False))


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default="0")  # 0: never


brands = Table(
    "brands",
    metadata,
    Column("name", KEY, primary_key=True),
    Column("config", JSON, nullable=False),
)

# Every URL ever seen of a brand. A row that points to a page (page_part) stands for stored text,
# whatever its state says about the latest try to fetch it again.
urls = Table(
    "urls",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("url", KEY, primary_key=True),
    Column("state", KEY, nullable=False),
    Column("reason", KEY, nullable=False),
    _count("status"),
    _count("depth"),
    _count("hops"),
    _text("parent"),
    _count("attempts"),
    _time("discovered_at"),
    _time("fetched_at"),
    _time("due_at"),
    _text("etag"),
    _text("last_modified"),
    Column("content_hash", KEY, nullable=False, server_default=""),
    Column("page_part", KEY),
    Column("page_row", Integer),
    _text("canonical_url"),
    _text("media_type"),
    _text("title"),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Column("seconds", Double, nullable=False, server_default="0"),
    _text("detail"),
    Column("cycle_done", Integer, nullable=False),
    # Since version 2
    Column("host", KEY, nullable=False, server_default=""),  # authority of the URL
    _count("cycle_due"),  # the cycle in which it waits to be settled; 0: in none
    _count("cycle_seen"),  # the last full cycle that found a way to it
    _count("misses"),  # cycles in a row in which the server said that its stored text is no longer there
    _time("changed_at"),  # since when it is as it is
    _time("revisit_at"),  # a delta crawl leaves it alone before
    _time("lastmod"),  # what the sitemap says
    Column("sitemap", KEY, nullable=False, server_default=""),  # that lists it
    Column("template", KEY, nullable=False, server_default=""),  # see ingest.traps
    Column("shape", KEY, nullable=False, server_default=""),  # likewise
    Column("words_hash", KEY, nullable=False, server_default=""),  # see ingest.fingerprint, as the next two
    Column("numbers_hash", KEY, nullable=False, server_default=""),
    Column("simhash", BigInteger, nullable=False, server_default="0"),
    _text("declared_canonical"),  # what the page names as its canonical address
    _text("alias_of"),  # the URL whose text stands for this one's; see store.aliases
    _text("alias_reason"),
    _text("lang"),
    _count("extractor"),  # version of the extraction that made the stored text
    CheckConstraint("(page_part IS NULL) = (content_hash = '')", name="text_has_hash"),
    CheckConstraint("(page_part IS NULL) = (page_row IS NULL)", name="page_has_row"),
)
# What waits, host by host and already in crawling order: Ledger.due reads only as many rows as it returns.
Index(
    "urls_waiting",
    urls.c.brand,
    urls.c.cycle_due,
    urls.c.host,
    urls.c.depth,
    urls.c.discovered_at,
    urls.c.url,
    sqlite_where=text("cycle_due > 0"),
    postgresql_where=text("cycle_due > 0"),
)
Index(
    "urls_listed",
    urls.c.brand,
    urls.c.sitemap,
    sqlite_where=text("sitemap <> ''"),
    postgresql_where=text("sitemap <> ''"),
)
Index(
    "urls_alias",
    urls.c.brand,
    urls.c.alias_of,
    sqlite_where=text("alias_of <> ''"),
    postgresql_where=text("alias_of <> ''"),
)

Index(  # since version 3
    "urls_redirect",
    urls.c.brand,
    urls.c.canonical_url,
    sqlite_where=text("reason = 'redirect'"),
    postgresql_where=text("reason = 'redirect'"),
)

cycles = Table(
    "cycles",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    _time("started_at"),
    Column("finished_at", Double),  # null while the cycle runs or waits to be resumed
    Column("mode", KEY, nullable=False, server_default="delta"),  # since version 2: full, delta or retry
    _count("dropped"),  # since version 2: links over the cap of known URLs, which were not recorded
)

# robots.txt files and sitemaps: what they led to, apart from the URLs of pages.
sitemaps = Table(
    "sitemaps",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("url", KEY, primary_key=True),
    Column("kind", KEY, nullable=False),  # robots or sitemap
    Column("state", KEY, nullable=False),
    Column("reason", KEY, nullable=False),
    _count("status"),
    _text("parent"),
    _count("depth"),
    _count("attempts"),
    _time("due_at"),
    _text("etag"),
    _text("last_modified"),
    _count("entries"),
    _time("fetched_at"),
    _text("detail"),
    _count("cycle_due"),
    _count("cycle_done"),
)

# Never deleted: ``fence`` must grow for ever. A free lease has host "".
leases = Table(
    "leases",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("fence", BigInteger, nullable=False),
    _text("host"),
    _count("pid"),
    _time("started"),
    _text("label"),
    _time("expires_at"),
)

generations = Table(
    "generations",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("generation", KEY, primary_key=True),
    _count("chunks"),
    _count("documents"),
    _text("model"),
    _time("created_at"),
    Column("figures", JSON(none_as_null=True)),  # since version 4: what the publish gate measured
)

pointers = Table(
    "pointers",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("generation", KEY, nullable=False),
    _time("published_at"),
    _text("aligned"),  # since version 4: the generation that the vector store is known to hold whole, "" for none
    _count("held"),  # since version 4: 1 after a rollback that holds; nothing is published then unless forced
    ForeignKeyConstraint(["brand", "generation"], ["generations.brand", "generations.generation"]),
)

# Since version 4: chunks that could not be embedded, until their document is cut again.
rejects = Table(
    "rejects",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("chunk_id", KEY, primary_key=True),
    Column("url", KEY, nullable=False),
    Column("reason", KEY, nullable=False),  # a key of records.CHUNK_REASONS
    _text("detail"),
    _text("model"),
    _time("at"),
)
Index("rejects_url", rejects.c.brand, rejects.c.url)

# Since version 4: what was forgotten on request. Nothing of it is stored again, by a crawl or from a backup.
tombstones = Table(
    "tombstones",
    metadata,
    Column("brand", KEY, primary_key=True),
    Column("url", KEY, primary_key=True),  # "": the whole brand as it was
    _time("forgotten_at"),
    _text("receipt"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", KEY, primary_key=True),
    _text("kind"),
    _text("state"),
    Column("payload", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    _text("error"),
    _text("submission_id"),
    _time("created_at"),
    _time("updated_at"),
)
Index("tasks_recent", tasks.c.created_at, tasks.c.id)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("job", KEY, primary_key=True),
    Column("slot", Double, primary_key=True, autoincrement=False),
    _text("submission_id"),
    _text("state"),
    _text("detail"),
    _time("claimed_at"),
    Column("finished_at", Double),
)
