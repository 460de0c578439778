//! What stands in the columns of PostgreSQL, and back.

use naulon_blind::{Brand, Purpose};
use naulon_durable::StoreError;
use naulon_exchange::{
    Exchange, LedgerAccount, LockedChain, ProvenDecision, Record, Remainder, State, Transfer, UnverifiedDecision,
};
use naulon_money::Amount;
use naulon_statement::{Digest, PublicKey, Signed, Timestamp, Unverified, UnverifiedJoint, cbor};
use naulon_tick::{Front, Tick};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// A column of a row. One that has not the type of the table is damage.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, place: usize) -> Result<T, StoreError> {
    parsed(row.try_get(place))
}

pub(super) fn digest(row: &Row, place: usize) -> Result<Digest, StoreError> {
    parsed(column::<&[u8]>(row, place)?.try_into()).map(Digest)
}

pub(super) fn account(row: &Row, place: usize) -> Result<PublicKey, StoreError> {
    parsed(column::<&[u8]>(row, place)?.try_into()).map(PublicKey)
}

pub(super) fn amount(row: &Row, place: usize) -> Result<Amount, StoreError> {
    parsed(u64::try_from(column::<i64>(row, place)?)).map(Amount::from_micros)
}

/// What is left, of a row of a remainder.
pub(super) fn remainder(row: &Row) -> Result<(Digest, Remainder), StoreError> {
    let uses = parsed(u8::try_from(column::<i16>(row, 2)?))?;
    Ok((digest(row, 0)?, Remainder { left: amount(row, 1)?, uses }))
}

/// What stands of a check, and its commitment.
pub(super) fn chain(row: &Row) -> Result<(Digest, LockedChain), StoreError> {
    let index = parsed(u32::try_from(column::<i64>(row, 5)?))?;
    let tick = column::<Option<&[u8]>>(row, 6)?.map(|bytes| parsed(bytes.try_into()).map(Tick)).transpose()?;
    let chain = LockedChain {
        maximum: amount(row, 1)?,
        expiry: timestamp(row, 2)?,
        payee: digest(row, 3)?,
        refund: account(row, 4)?,
        front: tick.map(|tick| Front { index, tick }),
        paid: amount(row, 7)?,
        returned: amount(row, 8)?,
    };
    Ok((digest(row, 0)?, chain))
}

pub(super) fn timestamp(row: &Row, place: usize) -> Result<Timestamp, StoreError> {
    parsed(u64::try_from(column::<i64>(row, place)?)).map(Timestamp)
}

pub(super) fn state(row: &Row, place: usize) -> Result<State, StoreError> {
    let number: i16 = column(row, place)?;
    let states = [State::Done, State::Locked, State::Committed, State::Aborted];
    states.into_iter().find(|state| state_number(*state) == number).ok_or(StoreError::Corrupt)
}

/// The record of a row of exchange, state, accepted, decision, settled. These are bytes that this bank wrote itself.
pub(super) fn record(row: &Row) -> Result<Record, StoreError> {
    let exchange: UnverifiedJoint<Exchange> = parsed(cbor::from_slice(column(row, 0)?))?;
    // A purchase that was freed by the bank's clock has none: no bytes.
    let decision = column::<Option<&[u8]>>(row, 3)?.filter(|bytes| !bytes.is_empty()).map(proven).transpose()?;
    let settled =
        column::<Option<i64>>(row, 4)?.map(|millis| parsed(u64::try_from(millis)).map(Timestamp)).transpose()?;
    let (exchange, state, accepted) = (exchange.from_own_store(), state(row, 1)?, timestamp(row, 2)?);
    Ok(Record { exchange, state, accepted, decision, settled })
}

pub(super) fn decision(row: &Row, place: usize) -> Result<ProvenDecision, StoreError> {
    proven(column(row, place)?)
}

/// The brand of a row of its statement.
pub(super) fn brand(row: &Row) -> Result<Signed<Brand>, StoreError> {
    Ok(parsed(Unverified::parse(column(row, 0)?))?.from_own_store())
}

/// The line of a row of debit, credit, amount.
pub(super) fn transfer(row: &Row) -> Result<Transfer, StoreError> {
    let [from, to] = [ledger_account(column(row, 0)?)?, ledger_account(column(row, 1)?)?];
    Ok(Transfer { from, to, amount: amount(row, 2)? })
}

pub(super) fn state_number(state: State) -> i16 {
    match state {
        State::Done => 0,
        State::Locked => 1,
        State::Committed => 2,
        State::Aborted => 3,
    }
}

pub(super) fn purpose_number(purpose: Purpose) -> i16 {
    purpose.number().into()
}

pub(super) fn ledger_bytes(account: &LedgerAccount) -> Vec<u8> {
    match account {
        LedgerAccount::Outside => vec![0],
        LedgerAccount::Customer(key) => [&[1], &key.0[..]].concat(),
        LedgerAccount::Tokens(brand) => [&[2], &brand.0[..]].concat(),
        LedgerAccount::Locked => vec![3],
        LedgerAccount::Chains => vec![4],
    }
}

/// A time as a signed database integer; the bank's clock and its brands never go beyond [`Timestamp::MAX`].
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn ledger_account(bytes: &[u8]) -> Result<LedgerAccount, StoreError> {
    match bytes {
        [0] => Ok(LedgerAccount::Outside),
        [1, key @ ..] => Ok(LedgerAccount::Customer(PublicKey(parsed(key.try_into())?))),
        [2, key @ ..] => Ok(LedgerAccount::Tokens(Digest(parsed(key.try_into())?))),
        [3] => Ok(LedgerAccount::Locked),
        [4] => Ok(LedgerAccount::Chains),
        _ => Err(StoreError::Corrupt),
    }
}

fn proven(bytes: &[u8]) -> Result<ProvenDecision, StoreError> {
    Ok(parsed(cbor::from_slice::<UnverifiedDecision>(bytes))?.from_own_store())
}

pub(super) fn parsed<T, E>(value: Result<T, E>) -> Result<T, StoreError> {
    value.map_err(|_| StoreError::Corrupt)
}
