PRAGMA application_id = 1852588619;
PRAGMA user_version = 7;
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
, settled INTEGER NOT NULL DEFAULT 0) STRICT;
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
CREATE INDEX settlement_settled ON settlement (settled);
CREATE TABLE register (
    place     INTEGER PRIMARY KEY,
    entry     BLOB NOT NULL,
    statement BLOB NOT NULL
) STRICT;
CREATE TABLE register_head (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    size       INTEGER NOT NULL,
    checkpoint TEXT
) STRICT;
CREATE TABLE day_item (
    day   INTEGER NOT NULL,
    brand BLOB NOT NULL,
    side  INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    first BLOB NOT NULL,
    root  BLOB NOT NULL,
    items BLOB NOT NULL,
    PRIMARY KEY (day, brand, side, chunk)
) STRICT;
CREATE TABLE output (
    key    BLOB NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (key, record)
) STRICT, WITHOUT ROWID;
CREATE TABLE remainder (
    token BLOB NOT NULL PRIMARY KEY,
    left  INTEGER NOT NULL CHECK (left >= 0),
    uses  INTEGER NOT NULL CHECK (uses >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_locked ON record (number) WHERE state = 1;
CREATE TABLE carried (
    account BLOB NOT NULL PRIMARY KEY,
    sum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE chain (
    number     INTEGER PRIMARY KEY,
    commitment BLOB NOT NULL UNIQUE,
    maximum    INTEGER NOT NULL CHECK (maximum > 0),
    expiry     INTEGER NOT NULL,
    payee      BLOB NOT NULL,
    refund     BLOB NOT NULL,
    position   INTEGER NOT NULL CHECK (position >= 0),
    tick       BLOB,
    paid       INTEGER NOT NULL CHECK (paid >= 0),
    returned   INTEGER NOT NULL CHECK (returned >= 0),
    CHECK ((position = 0) = (tick IS NULL)),
    CHECK (paid <= maximum - returned)
) STRICT;
INSERT INTO "clock" VALUES (1, 0);
INSERT INTO "register_head" VALUES (1, 0, NULL);
