"""The storage account's durable state: what lies in its SQLite file.

How it is written is in `broker/store`, here with a flush of the disk for each transaction. Content is not in it:
`file` names a file of `contents`.
"""

from __future__ import annotations

from iotedge_lab.broker.store import GroupStore, Layout

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- times in s since 1970; `policies`: the stored access policies, JSON by id
CREATE TABLE container (
    name TEXT PRIMARY KEY, etag TEXT NOT NULL, modified REAL NOT NULL, metadata TEXT NOT NULL, policies TEXT NOT NULL
) WITHOUT ROWID;
-- `headers`: what the client said of the content (Content-Type and so on), JSON
CREATE TABLE blob (
    container TEXT NOT NULL, name TEXT NOT NULL, etag TEXT NOT NULL, created REAL NOT NULL, modified REAL NOT NULL,
    size INTEGER NOT NULL, headers TEXT NOT NULL, metadata TEXT NOT NULL, copied TEXT,
    PRIMARY KEY (container, name)
) WITHOUT ROWID;
-- the blocks of a blob in order; `start`: where in the blob it begins; `id` '' where it was put in one piece
CREATE TABLE part (
    container TEXT NOT NULL, blob TEXT NOT NULL, start INTEGER NOT NULL, number INTEGER NOT NULL,
    id TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (container, blob, number)
) WITHOUT ROWID;
CREATE INDEX part_file ON part (file);
-- blocks that no blob has yet
CREATE TABLE block (
    container TEXT NOT NULL, blob TEXT NOT NULL, id TEXT NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
    added REAL NOT NULL, PRIMARY KEY (container, blob, id)
) WITHOUT ROWID;
CREATE INDEX block_file ON block (file);
CREATE INDEX block_added ON block (added);
"""


class Store(GroupStore):
    """The account's file."""

    layout = Layout(_SCHEMA, 1, "the lab's storage", "delete the folder 'storage' in the state folder")
