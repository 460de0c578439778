//! The tables of a bank's SQLite file. Migrations are only ever added: how, says
//! [`naulon_durable::migration`].
//!
//! Random 32-byte keys stand in narrow tables of their own; what is wide lies under an integer in the order of its
//! coming, for a random key in a wide clustered table costs a page read and a page write a row. A mark, a request id
//! and an output are thus 40 bytes in a leaf, and a body is written once and never moved.
//!
//! On a database that is spread over machines the shard keys are `mark.key`, `output.key`, `request.id` (which record and
//! settlement then take for their key, too), `account.key`, `remainder.token`, `chain.commitment`, `journal.debit`, `carried.account`; brands, clock and log faults
//! are copied everywhere.
//! House accounts (outside, tokens, locked, chains) have no row with a running balance that all writers would queue for.

/// The migrations, from number 1.
pub(super) const MIGRATIONS: &[&str] = &["
-- One row a spent token, used order, taken offer: who holds it.
CREATE TABLE mark (
    key    BLOB NOT NULL PRIMARY KEY,
    record INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Request id to record.
CREATE TABLE request (
    id     BLOB NOT NULL PRIMARY KEY,
    record INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The signed requests that were accepted. state: 0 done, 1 locked, 2 committed, 3 aborted.
CREATE TABLE record (
    number   INTEGER PRIMARY KEY,
    accepted INTEGER NOT NULL,
    state    INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    exchange BLOB NOT NULL
) STRICT;

-- The log's decision on a purchase; exactly the records in state 2 and 3 have one.
CREATE TABLE settlement (
    record   INTEGER PRIMARY KEY,
    decision BLOB NOT NULL
) STRICT;

-- What the bank owes its customers, one row an account.
CREATE TABLE account (
    key     BLOB NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance >= 0)
) STRICT, WITHOUT ROWID;

-- Append-only: the amount leaves debit and comes to credit. A ledger account is 00 outside, 01 ‖ key customer,
-- 02 ‖ token key id tokens, 03 locked.
CREATE TABLE journal (
    line   INTEGER PRIMARY KEY,
    record INTEGER NOT NULL,
    debit  BLOB NOT NULL,
    credit BLOB NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0)
) STRICT;

-- Exactly one brand a currency, denomination, purpose and first day; one RSA key is one brand.
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

-- Decisions by which a log broke the protocol.
CREATE TABLE log_fault (
    purchase BLOB NOT NULL,
    code     TEXT NOT NULL,
    decision BLOB NOT NULL,
    PRIMARY KEY (purchase, code)
) STRICT, WITHOUT ROWID;

-- The latest time that the bank has told somebody and that no record holds.
CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    time INTEGER NOT NULL
) STRICT;
INSERT INTO clock VALUES (1, 0);
", "
-- When a purchase was settled: on that day what it delivered is counted.
ALTER TABLE settlement ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
CREATE INDEX settlement_settled ON settlement (settled);

-- The bank's register: entries of its public tlog, and the statements that they name.
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
INSERT INTO register_head VALUES (1, 0, NULL);

-- What was issued (side 1) and redeemed (side 2) on days that are over: sorted items, 256 a row, with their subtree's root.
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
", "
-- Blinded output to the accepted request that it belongs to, for wallets that are restored. What was accepted before there was
-- this table is not in it.
CREATE TABLE output (
    key    BLOB NOT NULL,
    record INTEGER NOT NULL,
    PRIMARY KEY (key, record)
) STRICT, WITHOUT ROWID;
", "
-- What is left on tokens that are spent in parts, by the keys of their marks, and how many uses are live.
CREATE TABLE remainder (
    token BLOB NOT NULL PRIMARY KEY,
    left  INTEGER NOT NULL CHECK (left >= 0),
    uses  INTEGER NOT NULL CHECK (uses >= 0)
) STRICT, WITHOUT ROWID;
", "
-- What is locked, for the bank's own errands.
CREATE INDEX record_locked ON record (number) WHERE state = 1;
", "
-- What requests that are forgotten did to each ledger account: by it and the records the journal can still be audited.
CREATE TABLE carried (
    account BLOB NOT NULL PRIMARY KEY,
    sum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
", "
-- What stands of each check, by its commitment: set aside, paid for its ticks up to that position (at the root without a
-- tick), returned. Of the payee only a digest.
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
"];
