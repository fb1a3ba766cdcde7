"""Containers and blobs: what there is, and every change to it. What a call reports done is on the disk.

A blob is a row and its parts, each part a file of `contents`. To commit a list of blocks moves rows and no bytes, and
so does a copy. A file is deleted when no part and no waiting block has it any more.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from iotedge_lab.blobs.errors import BlobError, blob_not_found, container_not_found
from iotedge_lab.blobs.records import Blob, Block, Container, Draft, Listed, Page

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from iotedge_lab.blobs.contents import Contents, Stored
    from iotedge_lab.blobs.store import Store
    from iotedge_lab.clock import Clock

BLOCKS_LIMIT: Final = 50_000  # in a blob
WAITING_LIMIT: Final = 100_000  # blocks that no blob has yet, of one name
WAITING_DAYS: Final = 7
_YEAR_1970: Final = 621_355_968_000_000_000  # in ticks since the year 1
_LAST: Final = "\U0010ffff"  # no name has it, and it sorts behind all


class Catalogue:
    """The account's containers and blobs."""

    def __init__(self, store: Store, contents: Contents, clock: Clock) -> None:
        self._store = store
        self._contents = contents
        self._clock = clock
        self._serial = 0

    # -- containers ------------------------------------------------------------------------------------

    def container(self, name: str) -> Container:
        """One container; raises 404 ContainerNotFound."""
        row = self._store.db.execute(
            f"SELECT {Container.COLUMNS} FROM container WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            raise container_not_found(name)
        return Container.read(row)

    def create_container(self, name: str, metadata: dict[str, str]) -> Container:
        """Make one; raises 409 ContainerAlreadyExists."""
        made = Container(name, self._etag(), self._clock.now(), metadata, {})
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM container WHERE name = ?", (name,)).fetchone():
                raise BlobError(409, "ContainerAlreadyExists", "The specified container already exists.")
            self._write_container(db, made)
        return made

    def change_container(
        self,
        name: str,
        *,
        metadata: dict[str, str] | None = None,
        policies: dict[str, dict[str, str]] | None = None,
    ) -> Container:
        """Set its metadata, or its stored access policies; raises 404 ContainerNotFound."""
        found = self.container(name)
        made = Container(
            name,
            self._etag(),
            self._clock.now(),
            found.metadata if metadata is None else metadata,
            found.policies if policies is None else policies,
        )
        with self._store.transaction() as db:
            self._write_container(db, made)
        return made

    @staticmethod
    def _write_container(db: sqlite3.Connection, made: Container) -> None:
        db.execute(
            "INSERT OR REPLACE INTO container VALUES (?, ?, ?, ?, ?)",
            (made.name, made.etag, made.modified, json.dumps(made.metadata), json.dumps(made.policies)),
        )

    def delete_container(self, name: str) -> None:
        """Delete it with all that is in it; raises 404 ContainerNotFound."""
        self.container(name)
        with self._store.transaction() as db:
            files = self._files(db, "container = ?", (name,))
            db.execute("DELETE FROM container WHERE name = ?", (name,))
            for table in ("blob", "part", "block"):
                db.execute(f"DELETE FROM {table} WHERE container = ?", (name,))
            unwanted = self._unwanted(db, files)
        self._contents.delete(unwanted)

    def containers(self, prefix: str, after: str, count: int) -> list[Container]:
        """At most `count` of them, by name, that begin with `prefix` and come after `after`."""
        rows = self._store.db.execute(
            f"SELECT {Container.COLUMNS} FROM container WHERE name >= ? AND name < ? AND name > ? "
            "ORDER BY name LIMIT ?",
            (prefix, prefix + _LAST, after, count),
        )
        return [Container.read(row) for row in rows]

    # -- blobs -----------------------------------------------------------------------------------------

    def find(self, container: str, name: str) -> Blob | None:
        """A blob, or None; raises 404 ContainerNotFound."""
        row = self._store.db.execute(
            f"SELECT {Blob.COLUMNS} FROM blob WHERE container = ? AND name = ?", (container, name)
        ).fetchone()
        if row is None:
            self.container(container)
            return None
        return Blob.read(row)

    def get(self, container: str, name: str) -> Blob:
        """A blob; raises 404 BlobNotFound or ContainerNotFound."""
        found = self.find(container, name)
        if found is None:
            raise blob_not_found(name)
        return found

    def parts(self, container: str, name: str) -> list[Block]:
        """What a blob is made of, in order."""
        rows = self._store.db.execute(
            "SELECT id, size, file FROM part WHERE container = ? AND blob = ? ORDER BY number",
            (container, name),
        )
        return [Block(*row) for row in rows]

    def put(self, draft: Draft, content: Stored, check: Callable[[Blob | None], None]) -> Blob:
        """A blob of one file, in place of what there was. `check` gets that, inside the transaction, and may raise."""
        part = [Block("", content.size, content.file)] if content.size else []
        try:
            made = self._replace(draft, part, check)
        except BaseException:
            self._contents.delete([content.file])
            raise
        if not part:
            self._contents.delete([content.file])
        return made

    def put_block(self, container: str, name: str, block_id: str, content: Stored) -> None:
        """Keep a block until a list names it, in place of one of the same id."""
        try:
            self.container(container)
            with self._store.transaction() as db:
                old = db.execute(
                    "SELECT file FROM block WHERE container = ? AND blob = ? AND id = ?",
                    (container, name, block_id),
                ).fetchone()
                self._check_block(db, container, name, block_id, new=old is None)
                db.execute(
                    "INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?, ?, ?)",
                    (container, name, block_id, content.file, content.size, self._clock.now()),
                )
        except BaseException:
            self._contents.delete([content.file])
            raise
        if old is not None:
            self._contents.delete([old[0]])

    @staticmethod
    def _check_block(db: sqlite3.Connection, container: str, name: str, block_id: str, *, new: bool) -> None:
        other = db.execute(
            "SELECT id FROM block WHERE container = ?1 AND blob = ?2 UNION ALL "
            "SELECT id FROM part WHERE container = ?1 AND blob = ?2 AND id <> '' LIMIT 1",
            (container, name),
        ).fetchone()
        if other is not None and len(other[0]) != len(block_id):
            raise BlobError(
                400,
                "InvalidBlobOrBlock",
                "The specified blob or block content is invalid: all block ids of a blob have the same length, and "
                f"{other[0]!r} is there already.",
            )
        if new:
            waiting = db.execute(
                "SELECT COUNT(*) FROM block WHERE container = ? AND blob = ?", (container, name)
            ).fetchone()[0]
            if waiting >= WAITING_LIMIT:
                raise BlobError(
                    409,
                    "BlockCountExceedsLimit",
                    f"The uncommitted block count cannot exceed the maximum limit of {WAITING_LIMIT} blocks.",
                )

    def waiting(self, container: str, name: str) -> list[Block]:
        """The blocks that no list has named yet, by id."""
        rows = self._store.db.execute(
            "SELECT id, size, file FROM block WHERE container = ? AND blob = ? ORDER BY id", (container, name)
        )
        return [Block(*row) for row in rows]

    def commit(
        self, draft: Draft, wanted: Sequence[tuple[str, str]], check: Callable[[Blob | None], None]
    ) -> Blob:
        """Make the blob of these blocks: (`Latest`, `Committed` or `Uncommitted`, id) each.

        Blocks that wait and are not named are dropped. Raises 400 InvalidBlockList; `check` as for `put`.
        """
        if len(wanted) > BLOCKS_LIMIT:
            raise BlobError(
                400, "BlockListTooLong", f"The block list may not contain more than {BLOCKS_LIMIT} blocks."
            )
        committed = {block.id: block for block in self.parts(draft.container, draft.name) if block.id}
        waiting = {block.id: block for block in self.waiting(draft.container, draft.name)}
        look = {"Latest": {**committed, **waiting}, "Committed": committed, "Uncommitted": waiting}
        blocks = []
        for kind, block_id in wanted:
            block = look[kind].get(block_id)
            if block is None:
                raise BlobError(
                    400,
                    "InvalidBlockList",
                    f"The specified block list is invalid: there is no {kind} block {block_id!r}.",
                )
            blocks.append(block)
        return self._replace(draft, blocks, check)

    def _replace(self, draft: Draft, parts: Sequence[Block], check: Callable[[Blob | None], None]) -> Blob:
        now = self._clock.now()
        container, name = draft.container, draft.name
        with self._store.transaction() as db:
            old = self.find(container, name)
            check(old)
            size = sum(part.size for part in parts)
            created = old.created if old is not None else now
            made = Blob(
                container, name, self._etag(), created, now, size, draft.headers, draft.metadata, draft.copied
            )
            files = self._files(db, "container = ? AND blob = ?", (container, name))
            for table in ("part", "block"):
                db.execute(f"DELETE FROM {table} WHERE container = ? AND blob = ?", (container, name))
            start = 0
            for number, part in enumerate(parts):
                db.execute(
                    "INSERT INTO part VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (container, name, start, number, part.id, part.file, part.size),
                )
                start += part.size
            self._write_blob(db, made)
            unwanted = self._unwanted(db, files)
        self._contents.delete(unwanted)
        return made

    @staticmethod
    def _write_blob(db: sqlite3.Connection, made: Blob) -> None:
        db.execute(
            "INSERT OR REPLACE INTO blob VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                made.container,
                made.name,
                made.etag,
                made.created,
                made.modified,
                made.size,
                json.dumps(made.headers),
                json.dumps(made.metadata),
                json.dumps(made.copied) if made.copied is not None else None,
            ),
        )

    def copy(self, source: Blob, draft: Draft, check: Callable[[Blob | None], None]) -> Blob:
        """A blob with the content of another one of this account; `check` as for `put`."""
        return self._replace(draft, self.parts(source.container, source.name), check)

    def change(
        self, found: Blob, *, headers: dict[str, str] | None = None, metadata: dict[str, str] | None = None
    ) -> Blob:
        """Set what is said of its content, or its metadata; the content stays."""
        made = Blob(
            found.container,
            found.name,
            self._etag(),
            found.created,
            self._clock.now(),
            found.size,
            found.headers if headers is None else headers,
            found.metadata if metadata is None else metadata,
            found.copied,
        )
        with self._store.transaction() as db:
            self._write_blob(db, made)
        return made

    def delete(self, found: Blob) -> None:
        """Delete a blob with all its blocks, those that wait as well."""
        key = (found.container, found.name)
        with self._store.transaction() as db:
            files = self._files(db, "container = ? AND blob = ?", key)
            db.execute("DELETE FROM blob WHERE container = ? AND name = ?", key)
            for table in ("part", "block"):
                db.execute(f"DELETE FROM {table} WHERE container = ? AND blob = ?", key)
            unwanted = self._unwanted(db, files)
        self._contents.delete(unwanted)

    # -- listing ---------------------------------------------------------------------------------------

    def page(
        self,
        container: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        begin: str = "",
        count: int,
        waiting: bool = False,
    ) -> Page:
        """At most `count` blobs, by name, that begin with `prefix`; from the name `begin` on.

        With a `delimiter` those that have it after the prefix are told once, by what they have in common up to it.
        `waiting`: also names of which there are only blocks that wait, as blobs of size 0.
        """
        self.container(container)
        at = max(begin, prefix)
        items: list[Listed] = []
        while len(items) <= count:
            rows = self._names(container, at, prefix + _LAST, count + 1 - len(items), waiting=waiting)
            if not rows:
                return Page(tuple(items), "")
            for name, blob in rows:
                at = name + "\0"
                cut = name.find(delimiter, len(prefix)) if delimiter else -1
                if cut >= 0:
                    common = name[: cut + len(delimiter)]
                    items.append(Listed(common, None))
                    at = common + _LAST  # pass over the others below it, and ask anew from there
                    break
                items.append(Listed(name, blob))
        following = items[count].name
        return Page(tuple(items[:count]), following)

    def _names(
        self, container: str, begin: str, end: str, count: int, *, waiting: bool
    ) -> Iterable[tuple[str, Blob]]:
        rows = self._store.db.execute(
            f"SELECT {Blob.COLUMNS} FROM blob WHERE container = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?",
            (container, begin, end, count),
        )
        found = [(str(row[1]), Blob.read(row)) for row in rows]
        if not waiting:
            return found
        more = self._store.db.execute(
            "SELECT blob, MAX(added) FROM block WHERE container = ?1 AND blob >= ?2 AND blob < ?3 AND NOT EXISTS "
            "(SELECT 1 FROM blob b WHERE b.container = ?1 AND b.name = block.blob) "
            "GROUP BY blob ORDER BY blob LIMIT ?4",
            (container, begin, end, count),
        )
        found += [(name, Blob(container, name, "", at, at, 0, {}, {}, None)) for name, at in more]
        return sorted(found, key=lambda pair: pair[0])[:count]

    # -- files -----------------------------------------------------------------------------------------

    @staticmethod
    def _files(db: sqlite3.Connection, which: str, values: tuple[str, ...]) -> set[str]:
        rows = db.execute(
            f"SELECT file FROM part WHERE {which} UNION SELECT file FROM block WHERE {which}",
            (*values, *values),
        )
        return {row[0] for row in rows}

    @staticmethod
    def _unwanted(db: sqlite3.Connection, files: Iterable[str]) -> list[str]:
        """Those of `files` that nothing has any more."""
        return [
            file
            for file in files
            if not db.execute(
                "SELECT 1 FROM part WHERE file = ?1 UNION ALL SELECT 1 FROM block WHERE file = ?1 LIMIT 1",
                (file,),
            ).fetchone()
        ]

    def wanted_files(self) -> set[str]:
        """All files that something has (for `Contents.sweep`)."""
        rows = self._store.db.execute("SELECT file FROM part UNION SELECT file FROM block")
        return {row[0] for row in rows}

    def drop_old_blocks(self) -> int:
        """Blocks that have waited for a week are dropped, as on Azure; how many."""
        before = self._clock.now() - WAITING_DAYS * 86_400
        if not self._store.db.execute("SELECT 1 FROM block WHERE added < ? LIMIT 1", (before,)).fetchone():
            return 0
        with self._store.transaction() as db:
            files = {row[0] for row in db.execute("SELECT file FROM block WHERE added < ?", (before,))}
            gone = db.execute("DELETE FROM block WHERE added < ?", (before,)).rowcount
            unwanted = self._unwanted(db, files)
        self._contents.delete(unwanted)
        return int(gone)

    def totals(self) -> dict[str, int]:
        """How many containers and blobs there are, and the blobs' bytes."""
        row = self._store.db.execute(
            "SELECT (SELECT COUNT(*) FROM container), COUNT(*), COALESCE(SUM(size), 0) FROM blob"
        ).fetchone()
        return {"containers": row[0], "blobs": row[1], "bytes": row[2]}

    def _etag(self) -> str:
        """One that no earlier version had: ticks of 100 ns, as Azure's look."""
        self._serial = max(self._serial + 1, int(self._clock.now() * 10_000_000))
        return f'"0x{self._serial + _YEAR_1970:X}"'
