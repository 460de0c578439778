//! The tables of a bank's PostgreSQL database. Migrations are only ever added: how, says
//! [`naulon_durable::migration`].
//!
//! The rules of a database that is spread over machines (ADR 4) hold from the first day: the shard key is in every
//! primary key and UNIQUE. Shard keys are `mark.key`, `output.key`, `record.id`, `account.key`, `remainder.token`, `chain.commitment`, `carried.account`, and
//! `journal.record`, which stands
//! where its record stands; brand, clock and log_fault are copied everywhere. A journal by account would lay all lines
//! of the house's own accounts on one machine.
//!
//! Tables are heaps, so a wide random key costs no more than a narrow one, and no number has to be given out: what a
//! process would have to remember between two commits does not exist.

/// The schema of the bank's tables in its database.
pub(super) const SCHEMA: &str = "naulon_bank";

/// The migrations, from number 1. Names are found in [`SCHEMA`].
pub(super) const MIGRATIONS: &[&str] = &["
-- One row a spent token, used order, taken offer: the request that holds it.
CREATE TABLE mark (
    key    bytea NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    holder bytea NOT NULL
);

-- The signed requests that were accepted. state: 0 done, 1 locked, 2 committed, 3 aborted. Exactly those in state 2 and
-- 3 have a decision of their log.
CREATE TABLE record (
    id       bytea NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    accepted bigint NOT NULL,
    state    smallint NOT NULL CHECK (state BETWEEN 0 AND 3),
    exchange bytea NOT NULL,
    decision bytea,
    CHECK ((state IN (2, 3)) = (decision IS NOT NULL))
);
-- For the latest time of all; it grows at its end only.
CREATE INDEX record_accepted ON record (accepted);

-- What the bank owes its customers, one row an account.
CREATE TABLE account (
    key     bytea NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    balance bigint NOT NULL CHECK (balance >= 0)
);

-- Append-only: the amount leaves debit and comes to credit. A ledger account is 00 outside, 01 ‖ key customer,
-- 02 ‖ token key id tokens, 03 locked. A record has lines of its acceptance (settles = false) and of its settlement, so
-- no line can be written twice.
CREATE TABLE journal (
    record  bytea NOT NULL,
    settles boolean NOT NULL,
    line    integer NOT NULL,
    debit   bytea NOT NULL,
    credit  bytea NOT NULL,
    amount  bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (record, settles, line)
);

-- Exactly one brand a currency, denomination, purpose and first day; one RSA key is one brand.
CREATE TABLE brand (
    key_id       bytea NOT NULL PRIMARY KEY CHECK (length(key_id) = 32),
    number       bigint GENERATED ALWAYS AS IDENTITY,
    currency     text NOT NULL,
    denomination bigint NOT NULL,
    purpose      smallint NOT NULL,
    issue_from   bigint NOT NULL,
    statement    bytea NOT NULL,
    UNIQUE (currency, denomination, purpose, issue_from)
);

-- Decisions by which a log broke the protocol.
CREATE TABLE log_fault (
    purchase bytea NOT NULL,
    code     text NOT NULL,
    decision bytea NOT NULL,
    PRIMARY KEY (purchase, code)
);

-- The latest time that a bank process has told somebody and that no record holds.
CREATE TABLE clock (
    one smallint NOT NULL PRIMARY KEY CHECK (one = 1),
    time bigint NOT NULL
);
INSERT INTO clock VALUES (1, 0);
", "
-- When a purchase was settled: on that day what it delivered is counted.
ALTER TABLE record ADD COLUMN settled bigint;
CREATE INDEX record_settled ON record (settled) WHERE settled IS NOT NULL;

-- The bank's register: entries of its public tlog, and the statements that they name. Copied everywhere.
CREATE TABLE register (
    place     bigint NOT NULL PRIMARY KEY,
    entry     bytea NOT NULL CHECK (length(entry) = 33),
    statement bytea NOT NULL
);
CREATE TABLE register_head (
    one        smallint NOT NULL PRIMARY KEY CHECK (one = 1),
    size       bigint NOT NULL,
    checkpoint text
);
INSERT INTO register_head VALUES (1, 0, NULL);

-- What was issued (side 1) and redeemed (side 2) on days that are over: sorted items, 256 a row, with their subtree's root.
-- Its shard key is the brand.
CREATE TABLE day_item (
    day   bigint NOT NULL,
    brand bytea NOT NULL,
    side  smallint NOT NULL,
    chunk bigint NOT NULL,
    first bytea NOT NULL,
    root  bytea NOT NULL,
    items bytea NOT NULL,
    PRIMARY KEY (brand, day, side, chunk)
);
", "
-- Blinded output to the accepted request that it belongs to, for wallets that are restored. What was accepted before there was
-- this table is not in it.
CREATE TABLE output (
    key    bytea NOT NULL CHECK (length(key) = 32),
    record bytea NOT NULL,
    PRIMARY KEY (key, record)
);
", "
-- What is left on tokens that are spent in parts, by the keys of their marks, and how many uses are live.
CREATE TABLE remainder (
    token bytea NOT NULL PRIMARY KEY CHECK (length(token) = 32),
    rest  bigint NOT NULL CHECK (rest >= 0),
    uses  smallint NOT NULL CHECK (uses >= 0)
);
", "
-- What is locked, for the bank's own errands.
CREATE INDEX record_locked ON record (id) WHERE state = 1;
", "
-- What requests that are forgotten did to each ledger account: by it and the records the journal can still be audited.
CREATE TABLE carried (
    account bytea NOT NULL PRIMARY KEY,
    sum     bigint NOT NULL
);
", "
-- What stands of each check, by its commitment: set aside, paid for its ticks up to that position (at the root without a
-- tick), returned. Of the payee only a digest.
CREATE TABLE chain (
    commitment bytea NOT NULL PRIMARY KEY CHECK (length(commitment) = 32),
    maximum    bigint NOT NULL CHECK (maximum > 0),
    expiry     bigint NOT NULL,
    payee      bytea NOT NULL,
    refund     bytea NOT NULL,
    position   bigint NOT NULL CHECK (position >= 0),
    tick       bytea,
    paid       bigint NOT NULL CHECK (paid >= 0),
    returned   bigint NOT NULL CHECK (returned >= 0),
    CHECK ((position = 0) = (tick IS NULL)),
    CHECK (paid <= maximum - returned)
);
"];

/// A statement that every session has prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sql {
    Begin,
    BeginRead,
    Savepoint,
    ToSavepoint,
    Rollback,
    End,
    TakeMarks,
    FreeMarks,
    Holders,
    Records,
    States,
    Locked,
    AllRecords,
    ForgetRecords,
    ForgetMarks,
    ForgetOutputs,
    Carry,
    Balances,
    Remainders,
    Time,
    OpenAccounts,
    InsertRecords,
    InsertOutputs,
    OutputStates,
    Settle,
    ChangeBalance,
    OpenRemainders,
    Draw,
    Chains,
    LockChains,
    ChangeChain,
    Append,
    AddBrand,
    BrandStatement,
    Brands,
    LatestTime,
    KeepTime,
    KeepFault,
    Faults,
    RegisterHead,
    RegisterFrom,
    RegisterStatement,
    MoveHead,
    AppendRegister,
    KeepCosigned,
    DeliveredAtOnce,
    DeliveredBySettling,
    KeepChunks,
    ChunkRoots,
    Chunk,
    ChunkOf,
}

/// Text and place of every statement: `STATEMENTS[sql as usize]`.
pub(super) const STATEMENTS: &[(Sql, &str)] = &[
    (Sql::Begin, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
    (Sql::BeginRead, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
    (Sql::Savepoint, "SAVEPOINT marks_taken"),
    (Sql::ToSavepoint, "ROLLBACK TO SAVEPOINT marks_taken"),
    (Sql::Rollback, "ROLLBACK"),
    // Ends a transaction that has only read.
    (Sql::End, "COMMIT"),
    (
        Sql::TakeMarks,
        "INSERT INTO mark (key, holder) SELECT * FROM unnest($1::bytea[], $2::bytea[])
         ON CONFLICT DO NOTHING RETURNING key",
    ),
    (
        Sql::FreeMarks,
        "DELETE FROM mark USING unnest($1::bytea[], $2::bytea[]) AS freed (key, holder)
         WHERE mark.key = freed.key AND mark.holder = freed.holder",
    ),
    (Sql::Holders, "SELECT key, holder FROM mark WHERE key = ANY($1::bytea[])"),
    (Sql::Records, "SELECT exchange, state, accepted, decision, settled FROM record WHERE id = ANY($1::bytea[])"),
    (Sql::States, "SELECT id, state FROM record WHERE id = ANY($1::bytea[])"),
    (
        Sql::Locked,
        "SELECT exchange, state, accepted, decision, settled FROM record WHERE state = 1 AND id > $1 ORDER BY id LIMIT $2",
    ),
    (
        Sql::AllRecords,
        "SELECT exchange, state, accepted, decision, settled FROM record WHERE id > $1 ORDER BY id LIMIT $2",
    ),
    (Sql::ForgetRecords, "DELETE FROM record WHERE id = ANY($1::bytea[]) AND state <> 1 RETURNING id"),
    (
        Sql::ForgetMarks,
        "DELETE FROM mark USING unnest($1::bytea[], $2::bytea[]) AS gone (key, holder)
         WHERE mark.key = gone.key AND mark.holder = gone.holder",
    ),
    (
        Sql::ForgetOutputs,
        "DELETE FROM output USING unnest($1::bytea[], $2::bytea[]) AS gone (key, record)
         WHERE output.key = gone.key AND output.record = gone.record",
    ),
    (
        Sql::Carry,
        "INSERT INTO carried (account, sum) SELECT * FROM unnest($1::bytea[], $2::bigint[])
         ON CONFLICT (account) DO UPDATE SET sum = carried.sum + excluded.sum",
    ),
    (Sql::Balances, "SELECT key, balance FROM account WHERE key = ANY($1::bytea[])"),
    (Sql::Remainders, "SELECT token, rest, uses FROM remainder WHERE token = ANY($1::bytea[])"),
    // Shared until the end: whoever keeps a time waits for the batches that were worked out by an earlier one.
    (Sql::Time, "SELECT time FROM clock FOR SHARE"),
    (
        Sql::OpenAccounts,
        "INSERT INTO account (key, balance) SELECT key, 0 FROM unnest($1::bytea[]) AS opened (key)
         ON CONFLICT DO NOTHING",
    ),
    (
        Sql::InsertRecords,
        "INSERT INTO record (id, accepted, state, exchange, decision)
         SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::smallint[], $4::bytea[], $5::bytea[])
         ON CONFLICT DO NOTHING RETURNING 1",
    ),
    (
        Sql::InsertOutputs,
        "INSERT INTO output (key, record) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
    ),
    (
        Sql::OutputStates,
        "SELECT output.key, record.state FROM output JOIN record ON record.id = output.record
         WHERE output.key = ANY($1::bytea[])",
    ),
    (Sql::Settle, "UPDATE record SET state = $2, decision = $3, settled = $4 WHERE id = $1 AND state = 1 RETURNING 1"),
    (
        Sql::ChangeBalance,
        "UPDATE account SET balance = balance + $2 WHERE key = $1 AND balance BETWEEN $3 AND $4 RETURNING 1",
    ),
    (
        Sql::OpenRemainders,
        "INSERT INTO remainder (token, rest, uses)
         SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::smallint[]) ON CONFLICT DO NOTHING RETURNING 1",
    ),
    (Sql::Draw, "UPDATE remainder SET rest = $2, uses = $3 WHERE token = $1 AND rest = $4 AND uses = $5 RETURNING 1"),
    (
        Sql::Chains,
        "SELECT commitment, maximum, expiry, payee, refund, position, tick, paid, returned FROM chain
         WHERE commitment = ANY($1::bytea[])",
    ),
    (
        Sql::LockChains,
        "INSERT INTO chain (commitment, maximum, expiry, payee, refund, position, tick, paid, returned)
         SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[],
             $7::bytea[], $8::bigint[], $9::bigint[])
         ON CONFLICT DO NOTHING RETURNING 1",
    ),
    // Maximum, expiry, payee and refund key never change; position and paid change together.
    (
        Sql::ChangeChain,
        "UPDATE chain SET position = $2, tick = $3, paid = $4, returned = $5
         WHERE commitment = $1 AND position = $6 AND paid = $7 AND returned = $8 RETURNING 1",
    ),
    (
        Sql::Append,
        "INSERT INTO journal (record, settles, line, debit, credit, amount)
         SELECT * FROM unnest($1::bytea[], $2::boolean[], $3::integer[], $4::bytea[], $5::bytea[], $6::bigint[])",
    ),
    (
        Sql::AddBrand,
        "INSERT INTO brand (key_id, currency, denomination, purpose, issue_from, statement)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING 1",
    ),
    (Sql::BrandStatement, "SELECT statement FROM brand WHERE key_id = $1"),
    (Sql::Brands, "SELECT statement FROM brand ORDER BY number"),
    (Sql::LatestTime, "SELECT greatest(time, (SELECT accepted FROM record ORDER BY accepted DESC LIMIT 1)) FROM clock"),
    (Sql::KeepTime, "UPDATE clock SET time = $1 WHERE time < $1"),
    (Sql::KeepFault, "INSERT INTO log_fault (purchase, code, decision) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"),
    (Sql::Faults, "SELECT purchase, code, decision FROM log_fault"),
    (Sql::RegisterHead, "SELECT size, checkpoint FROM register_head"),
    (
        Sql::RegisterFrom,
        "SELECT entry, CASE WHEN get_byte(entry, 0) = 3 THEN NULL ELSE statement END
         FROM register WHERE place >= $1 ORDER BY place",
    ),
    (Sql::RegisterStatement, "SELECT statement FROM register WHERE place = $1"),
    (Sql::MoveHead, "UPDATE register_head SET size = $2, checkpoint = $3 WHERE one = 1 AND size = $1 RETURNING 1"),
    (
        Sql::AppendRegister,
        "INSERT INTO register (place, entry, statement) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])",
    ),
    (Sql::KeepCosigned, "UPDATE register_head SET checkpoint = $2 WHERE one = 1 AND size = $1 RETURNING 1"),
    (
        Sql::DeliveredAtOnce,
        "SELECT exchange, state, accepted, decision, settled, accepted, id FROM record
         WHERE state = 0 AND accepted >= $1 AND (accepted, id) > ($1, $2) AND accepted < $3
         ORDER BY accepted, id LIMIT $4",
    ),
    (
        Sql::DeliveredBySettling,
        "SELECT exchange, state, accepted, decision, settled, settled, id FROM record
         WHERE state = 2 AND settled >= $1 AND (settled, id) > ($1, $2) AND settled < $3
         ORDER BY settled, id LIMIT $4",
    ),
    (
        Sql::KeepChunks,
        "INSERT INTO day_item (day, brand, side, chunk, first, root, items)
         SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::smallint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bytea[])
         ON CONFLICT DO NOTHING",
    ),
    (Sql::ChunkRoots, "SELECT root FROM day_item WHERE day = $1 AND brand = $2 AND side = $3 ORDER BY chunk"),
    (Sql::Chunk, "SELECT items FROM day_item WHERE day = $1 AND brand = $2 AND side = $3 AND chunk = $4"),
    (
        Sql::ChunkOf,
        "SELECT chunk FROM day_item WHERE day = $1 AND brand = $2 AND side = $3 AND first <= $4
         ORDER BY chunk DESC LIMIT 1",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_is_in_its_place() {
        for (place, (sql, _)) in STATEMENTS.iter().enumerate() {
            assert_eq!(*sql as usize, place, "{sql:?}");
        }
    }
}
