from __future__ import annotations

import pytest
from sqlalchemy import create_engine, inspect, text

from ray_app.errors import StoreError
from ray_app.records import UrlState
from ray_app.store.catalog import Catalog
from ray_app.store.db import Database
from ray_app.store.ledger import Cycle, Discovery, Ledger
from ray_app.store.schema import VERSION, urls

# The tables of version 1 that later versions changed, as it made them.
VERSION_1 = (
    """CREATE TABLE urls (brand VARCHAR NOT NULL, url VARCHAR NOT NULL, state VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    status INTEGER DEFAULT '0' NOT NULL, depth INTEGER DEFAULT '0' NOT NULL, hops INTEGER DEFAULT '0' NOT NULL,
    parent TEXT DEFAULT '' NOT NULL, attempts INTEGER DEFAULT '0' NOT NULL, discovered_at DOUBLE PRECISION DEFAULT '0'
    NOT NULL, fetched_at DOUBLE PRECISION DEFAULT '0' NOT NULL, due_at DOUBLE PRECISION DEFAULT '0' NOT NULL,
    etag TEXT DEFAULT '' NOT NULL, last_modified TEXT DEFAULT '' NOT NULL, content_hash VARCHAR DEFAULT '' NOT NULL,
    page_part VARCHAR, page_row INTEGER, canonical_url TEXT DEFAULT '' NOT NULL, media_type TEXT DEFAULT '' NOT NULL,
    title TEXT DEFAULT '' NOT NULL, bytes BIGINT DEFAULT '0' NOT NULL, seconds DOUBLE PRECISION DEFAULT '0' NOT NULL,
    detail TEXT DEFAULT '' NOT NULL, cycle_done INTEGER NOT NULL, PRIMARY KEY (brand, url))""",
    "CREATE INDEX urls_due ON urls (brand, cycle_done, depth, discovered_at, url)",
    """CREATE TABLE cycles (brand VARCHAR NOT NULL, number INTEGER NOT NULL, started_at DOUBLE PRECISION DEFAULT '0'
    NOT NULL, finished_at DOUBLE PRECISION, PRIMARY KEY (brand, number))""",
    "INSERT INTO cycles VALUES ('acme', 1, 1.0, 2.0), ('acme', 2, 3.0, NULL)",
    """INSERT INTO urls (brand, url, state, reason, cycle_done, content_hash, page_part, page_row) VALUES
    ('acme', 'https://a.example/done', 'fetched', 'ok', 2, 'h1', 'p', 0),
    ('acme', 'https://a.example/due', 'fetched', 'ok', 1, 'h2', 'p', 1)""",
)


def run(url: str, *statements: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        for statement in statements:
            conn.execute(text(statement))
    engine.dispose()


def indexes(db: Database) -> set[str | None]:
    return {index["name"] for index in inspect(db.engine).get_indexes("urls")}


def test_a_database_of_version_1_goes_on_where_it_was(db_url: str) -> None:
    if db_url.startswith("sqlite"):
        Database(db_url).close()
        run(db_url, "DROP TABLE urls", "DROP TABLE cycles", "DROP TABLE layout")
    run(db_url, *VERSION_1)
    for _ in range(2):  # and opening it again changes nothing more
        db = Database(db_url)
        ledger = Ledger(db)
        assert ledger.last_cycle("acme") == Cycle(2, 3.0, None)
        assert [task.url for task in ledger.due("acme", 2, "a.example", 9, 5.0)] == ["https://a.example/due"]
        assert {row.url for row in ledger.urls("acme", UrlState.FETCHED)} == {
            "https://a.example/done",
            "https://a.example/due",
        }
        assert len(ledger.documents("acme")) == 2
        assert indexes(db) == {"urls_waiting", "urls_listed", "urls_alias", "urls_redirect"}
        db.close()
    db = Database(db_url)
    assert Ledger(db).discover("acme", Cycle(2, 3.0, None), [Discovery("https://a.example/new")], 5.0) == 1
    db.close()


def test_a_database_of_version_2_gets_the_indexes_it_lacks(db_url: str) -> None:
    """As one had that came from version 1."""
    Database(db_url).close()
    run(db_url, "UPDATE layout SET version = 2", "DROP INDEX urls_waiting", "DROP INDEX urls_redirect")
    for _ in range(2):
        db = Database(db_url)
        assert indexes(db) == {index.name for index in urls.indexes}
        db.close()


def test_a_database_of_version_3_keeps_what_is_published(db_url: str) -> None:
    db = Database(db_url)
    catalog = Catalog(db)
    catalog.add_generation("acme", "g1", {"chunks": 1, "documents": 1, "model": "m", "created_at": 1.0})
    catalog.publish("acme", "g1", 2.0)
    db.close()
    run(
        db_url,
        "UPDATE layout SET version = 3",
        "DROP TABLE rejects",
        "DROP TABLE tombstones",
        "ALTER TABLE pointers DROP COLUMN held",
        "ALTER TABLE pointers DROP COLUMN aligned",
        "ALTER TABLE generations DROP COLUMN figures",
    )
    db = Database(db_url)
    (row,) = Catalog(db).generations("acme")
    assert (row.published_at, row.held, row.figures) == (2.0, False, None)
    assert {"rejects", "tombstones"} <= set(inspect(db.engine).get_table_names())
    db.close()


def test_a_database_of_a_newer_backline_is_refused_in_words(db_url: str) -> None:
    Database(db_url).close()
    run(db_url, f"UPDATE layout SET version = {VERSION + 1}")
    with pytest.raises(StoreError, match="newer Backline"):
        Database(db_url)
