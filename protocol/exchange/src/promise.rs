//! What a bank signs when it has locked a purchase (AAT §3.3, P3).

use minicbor::{Decode, Encode};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Statement, Timestamp, cbor};

use crate::entry::Entry;
use crate::request::{Exchange, RequestId, SaleNumber};

/// The part of *authorization_b* that the log sees: no value (AAT, table 1).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// The bank.
    #[n(1)]
    pub bank: PublicKey,
    /// M: the merchant.
    #[n(2)]
    pub merchant: PublicKey,
    /// n: the merchant's transaction number.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub n: SaleNumber,
    /// When the lock expires.
    #[n(4)]
    pub expiry: Timestamp,
    /// L: the log that decides.
    #[n(5)]
    pub log: PublicKey,
    /// a: the request id of *authorization_q*.
    #[n(6)]
    pub a: RequestId,
    /// c: the commitment to the merchandise key.
    #[n(7)]
    pub c: Digest,
    /// Q, for two-sided delivery only (AAT §8.6, CD4).
    #[n(8)]
    pub q: Option<PublicKey>,
    /// How the purchase stands in the log (AAT §8.5).
    #[n(9)]
    #[cbor(default, skip_if = "Entry::is_plain")]
    pub entry: Entry,
}

impl Statement for Header {
    const CONTENT_TYPE: &'static str = "application/naulon.header+cbor";
}

impl Header {
    /// The header of the authorization_q whose id is `a`; none if the exchange has no condition.
    pub fn of(exchange: &Exchange, a: RequestId) -> Option<Header> {
        let condition = exchange.condition.as_ref()?;
        Some(Header {
            bank: exchange.bank,
            merchant: condition.merchant,
            n: condition.n,
            expiry: condition.expiry,
            log: condition.log,
            a,
            c: condition.c,
            q: condition.q,
            entry: condition.entry,
        })
    }

    /// SHA-256 of the header's deterministic CBOR.
    pub fn digest(&self) -> Digest {
        Digest::of(&[&cbor::to_vec(self)])
    }
}

/// The part of *authorization_b* that only the merchant sees: what it will be paid.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AuthorizationB {
    /// The digest of the header that this belongs to.
    #[n(1)]
    pub header: Digest,
    /// What the merchant's account is credited when the log commits.
    #[n(2)]
    pub value: Amount,
    /// Its currency.
    #[n(3)]
    pub currency: Currency,
}

impl Statement for AuthorizationB {
    const CONTENT_TYPE: &'static str = "application/naulon.authorization-b+cbor";
}

impl AuthorizationB {
    /// The promise for this authorization_q; none if it is not one.
    pub fn of(exchange: &Exchange, header: &Header) -> Option<AuthorizationB> {
        Some(AuthorizationB { header: header.digest(), value: exchange.price()?, currency: exchange.currency.clone() })
    }
}
