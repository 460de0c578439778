PRAGMA application_id = 1852591183;
PRAGMA user_version = 3;
CREATE TABLE log_state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        fence INTEGER NOT NULL,
        size INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        checkpoint TEXT
    ) STRICT;
CREATE TABLE decision (subject BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE body (place INTEGER PRIMARY KEY, body BLOB NOT NULL, expiry INTEGER, subject BLOB, published BLOB) STRICT;
CREATE TABLE entry (place INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
CREATE TABLE hash (place INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE cosigned (one INTEGER PRIMARY KEY CHECK (one = 1), note TEXT NOT NULL) STRICT;
CREATE INDEX body_expiry ON body (expiry) WHERE expiry IS NOT NULL;
INSERT INTO log_state (one, fence, size, time_ms) VALUES (1, 0, 0, 0);
