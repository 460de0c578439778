PRAGMA application_id = 1852588619;
PRAGMA user_version = 1;
CREATE TABLE mark (
    key    BLOB NOT NULL PRIMARY KEY,
    record INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE request (
    id     BLOB NOT NULL PRIMARY KEY,
    record INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    number   INTEGER PRIMARY KEY,
    accepted INTEGER NOT NULL,
    state    INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    exchange BLOB NOT NULL
) STRICT;
CREATE TABLE settlement (
    record   INTEGER PRIMARY KEY,
    decision BLOB NOT NULL
) STRICT;
CREATE TABLE account (
    key     BLOB NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    line   INTEGER PRIMARY KEY,
    record INTEGER NOT NULL,
    debit  BLOB NOT NULL,
    credit BLOB NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0)
) STRICT;
CREATE TABLE brand (
    number       INTEGER PRIMARY KEY,
    key_id       BLOB NOT NULL UNIQUE,
    currency     TEXT NOT NULL,
    denomination INTEGER NOT NULL,
    purpose      INTEGER NOT NULL,
    issue_from   INTEGER NOT NULL,
    statement    BLOB NOT NULL,
    UNIQUE (currency, denomination, purpose, issue_from)
) STRICT;
CREATE TABLE log_fault (
    purchase BLOB NOT NULL,
    code     TEXT NOT NULL,
    decision BLOB NOT NULL,
    PRIMARY KEY (purchase, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    time INTEGER NOT NULL
) STRICT;
INSERT INTO "clock" VALUES (1, 0);
