"""The hub's durable state: what lies in its SQLite file.

Stands for the storage behind an IoT Hub. How it is written is in `broker/store`.
"""

from __future__ import annotations

from iotedge_lab.broker.store import GroupStore, Layout

_CONFIGURATIONS = """
-- an automatic configuration or deployment; `serial` tells which was made first; times in s since 1970
CREATE TABLE configuration (
    id TEXT PRIMARY KEY, serial INTEGER NOT NULL, version INTEGER NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL,
    content TEXT NOT NULL, target TEXT NOT NULL, priority INTEGER NOT NULL,
    labels TEXT NOT NULL, metrics TEXT NOT NULL, schema_version TEXT
) WITHOUT ROWID;
-- what they do to a twin: their statuses by id, and what of its desired properties automatic configurations
-- (`configured`) and deployments (`deployed`) have set
CREATE TABLE assignment (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',
    statuses TEXT NOT NULL, configured TEXT NOT NULL, deployed TEXT NOT NULL,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
"""
_FILES = """
-- a file that a device is uploading; times in s since 1970
CREATE TABLE file_upload (
    correlation_id TEXT PRIMARY KEY, device TEXT NOT NULL, container TEXT NOT NULL, blob TEXT NOT NULL,
    started REAL NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX file_upload_device ON file_upload (device);
CREATE INDEX file_upload_expires ON file_upload (expires);
CREATE TABLE file_notice (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL,
    enqueued INTEGER NOT NULL, expires INTEGER NOT NULL, deliveries INTEGER NOT NULL, body TEXT NOT NULL,
    lock TEXT, locked_until INTEGER
);
"""
_JOBS = """
-- a job; times in s since 1970; `counted`: whether job_device has all its devices
CREATE TABLE job (
    serial INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, condition TEXT NOT NULL, content TEXT NOT NULL,
    created REAL NOT NULL, start REAL NOT NULL, seconds INTEGER NOT NULL,
    status TEXT NOT NULL, begun REAL, ended REAL, counted INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX job_open ON job (start) WHERE ended IS NULL;
-- what became of it on each: pending, running, completed (with an outcome) or failed (with an error)
CREATE TABLE job_device (
    job INTEGER NOT NULL, device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL, begun REAL, ended REAL, outcome TEXT, error TEXT,
    PRIMARY KEY (job, device, module)
) WITHOUT ROWID;
CREATE INDEX job_device_device ON job_device (device);
CREATE INDEX job_device_running ON job_device (job) WHERE status = 'running';
"""
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE policy (
    name TEXT PRIMARY KEY, rights TEXT NOT NULL, primary_key TEXT NOT NULL, secondary_key TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE identity (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',   -- module '' is the device itself
    generation_id TEXT NOT NULL, etag TEXT NOT NULL,
    auth_type TEXT NOT NULL, primary_key TEXT, secondary_key TEXT,
    primary_thumbprint TEXT, secondary_thumbprint TEXT,
    status TEXT NOT NULL, status_reason TEXT, status_updated REAL,
    state_updated REAL, last_activity REAL,
    iot_edge INTEGER NOT NULL DEFAULT 0, device_scope TEXT, parent_scopes TEXT NOT NULL DEFAULT '[]',
    managed_by TEXT,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
CREATE TABLE session (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL, subscriptions TEXT NOT NULL,
    PRIMARY KEY (device, module)
) WITHOUT ROWID;
CREATE TABLE twin (
    device TEXT NOT NULL, module TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL,
    desired TEXT NOT NULL, desired_meta TEXT NOT NULL, desired_version INTEGER NOT NULL,
    reported TEXT NOT NULL, reported_meta TEXT NOT NULL, reported_version INTEGER NOT NULL,
    version INTEGER NOT NULL, etag_version INTEGER NOT NULL, model_id TEXT NOT NULL,
    PRIMARY KEY (device, module)
);
-- a cloud-to-device message that waits; times in ms since 1970; `lock` while a device has it over HTTPS
CREATE TABLE command (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL,
    enqueued INTEGER NOT NULL, expires INTEGER NOT NULL, deliveries INTEGER NOT NULL,
    body BLOB NOT NULL, system TEXT NOT NULL, properties TEXT NOT NULL, ack TEXT, asked_expiry INTEGER,
    lock TEXT, locked_until INTEGER
);
CREATE INDEX command_device ON command (device, seq);
CREATE INDEX command_expires ON command (expires);
CREATE INDEX command_locked ON command (locked_until) WHERE locked_until IS NOT NULL;
CREATE TABLE feedback_record (id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE feedback_message (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL,
    enqueued INTEGER NOT NULL, expires INTEGER NOT NULL, deliveries INTEGER NOT NULL, body TEXT NOT NULL,
    lock TEXT, locked_until INTEGER
);
CREATE TABLE consumer_group (name TEXT PRIMARY KEY COLLATE NOCASE) WITHOUT ROWID;
CREATE TABLE partition (id INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL, last_enqueued INTEGER NOT NULL);
CREATE TABLE source (
    id INTEGER PRIMARY KEY, device TEXT NOT NULL, module TEXT NOT NULL,
    generation_id TEXT NOT NULL, auth_method TEXT NOT NULL,
    UNIQUE (device, module, generation_id, auth_method)
);
-- position = partition * 2^48 + sequence number of the chunk's first message
CREATE TABLE chunk (
    position INTEGER PRIMARY KEY, count INTEGER NOT NULL, enqueued INTEGER NOT NULL,
    source INTEGER NOT NULL, epoch INTEGER NOT NULL, format INTEGER NOT NULL, raw BLOB NOT NULL
);
{_CONFIGURATIONS}
{_FILES}
{_JOBS}
"""
_STEPS = {1: _CONFIGURATIONS, 2: _FILES, 3: _JOBS}  # from an earlier version of the schema to the next one


class Store(GroupStore):
    """The hub's file."""

    layout = Layout(_SCHEMA, 4, "the hub", "'iotedge-lab reset'", _STEPS)
