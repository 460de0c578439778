//! *goods_m*: the merchant's signed offer (AAT §3.3, P1), and *goods_q*, the buyer's answer to it (§8.6, CD2).

use minicbor::{Decode, Encode};
use naulon_exchange::{Entry, EntryMode, SaleNumber};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, PublicKey, Signed, Statement, Timestamp};

use crate::goods::{WRAPPED_KEY_LEN, sealed_len};

/// The longest title in bytes.
pub const MAX_TITLE_LEN: usize = 200;
/// The longest description in bytes.
pub const MAX_DESCRIPTION_LEN: usize = 4_000;
/// The most banks, and the most logs, that an offer may name.
pub const MAX_OFFERED_LOGS: usize = 32;

/// What is sold: the merchant answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Contract {
    /// A short name.
    #[n(1)]
    pub title: String,
    /// What the buyer gets, in words.
    #[n(2)]
    pub description: String,
    /// The size of the plain goods in bytes.
    #[n(3)]
    pub size: u64,
    /// The SHA-256 of the plain goods.
    #[n(4)]
    pub digest: Digest,
}

/// The offer. It commits to the merchandise key k by `c`, and to the file key by `wrapped_key`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoodsM {
    /// What is sold.
    #[n(1)]
    pub contract: Contract,
    /// What it costs.
    #[n(2)]
    pub price: Amount,
    /// In which currency.
    #[n(3)]
    pub currency: Currency,
    /// M: the merchant's key.
    #[n(4)]
    pub merchant: PublicKey,
    /// n: the merchant's transaction number.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub n: SaleNumber,
    /// The digest of the encrypted goods ([`crate::goods::GoodsHasher`]).
    #[n(6)]
    pub goods: Digest,
    /// c = SHA-256("naulon/k" ‖ n ‖ k).
    #[n(7)]
    pub c: Digest,
    /// The file key, encrypted under k and n.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub wrapped_key: [u8; WRAPPED_KEY_LEN],
    /// The banks whose promise the merchant accepts.
    #[n(9)]
    pub banks: Vec<PublicKey>,
    /// The logs that the merchant trusts to record what they receive (AAT §7).
    #[n(10)]
    pub logs: Vec<PublicKey>,
    /// The offer is not accepted from this instant on.
    #[n(11)]
    pub valid_until: Timestamp,
    /// How long before the expiry the bank's promise must reach the merchant, in milliseconds: it releases k only then.
    #[n(12)]
    pub release_margin: naulon_statement::Duration,
    /// Whether the merchant wants two-sided delivery (AAT §8.6).
    #[n(13)]
    pub two_sided: bool,
    /// How the purchase may stand in the log (AAT §8.5); none named: plain alone.
    #[n(14)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub entries: Vec<EntryMode>,
    /// The one-time key under which a blind log takes the merchant's message.
    #[n(15)]
    pub index: Option<PublicKey>,
}

impl Statement for GoodsM {
    const CONTENT_TYPE: &'static str = "application/naulon.goods-m+cbor";
}

/// Why an offer is not one that a buyer can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Signed by another key than the merchant it names.
    #[error("the offer is signed by another key than its merchant's")]
    NotTheMerchants,
    /// A text or list that is too long, a price of zero, or blind entries without an index.
    #[error("the offer has a text or list that is too long, or no price, or no index for blind entries")]
    OutOfBounds,
}

impl GoodsM {
    /// Checks the offer by itself.
    pub fn check(offer: &Signed<GoodsM>) -> Result<(), OfferError> {
        if offer.signer() != offer.merchant {
            return Err(OfferError::NotTheMerchants);
        }
        let lists = [&offer.banks, &offer.logs];
        let fits = offer.contract.title.len() <= MAX_TITLE_LEN
            && offer.contract.description.len() <= MAX_DESCRIPTION_LEN
            && lists.iter().all(|list| (1..=MAX_OFFERED_LOGS).contains(&list.len()))
            && offer.entries.len() <= EntryMode::ALL.len()
            && offer.index.is_some() == offer.entries.contains(&EntryMode::Blind)
            && !offer.price.is_zero()
            && offer.price <= Amount::MAX;
        fits.then_some(()).ok_or(OfferError::OutOfBounds)
    }

    /// How the purchase stands in the log in this mode; none if the merchant does not offer it.
    pub fn entry(&self, mode: EntryMode) -> Option<Entry> {
        let is_offered = match self.entries.is_empty() {
            true => mode == EntryMode::Plain,
            false => self.entries.contains(&mode),
        };
        match mode {
            EntryMode::Plain => is_offered.then_some(Entry::Plain),
            EntryMode::Encrypted => is_offered.then_some(Entry::Encrypted),
            EntryMode::Blind => self.index.filter(|_| is_offered).map(|index| Entry::Blind { index }),
        }
    }

    /// The size of the encrypted goods in bytes; saturates for a size that no file has.
    pub fn sealed_size(&self) -> u64 {
        sealed_len(self.contract.size)
    }
}

/// The buyer's signature over *goods_m*, by the key Q that pays (AAT §8.6): what was delivered to the holder of Q.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GoodsQ {
    /// The SHA-256 of the signed *goods_m*.
    #[n(1)]
    pub goods_m: Digest,
}

impl Statement for GoodsQ {
    const CONTENT_TYPE: &'static str = "application/naulon.goods-q+cbor";
}

impl GoodsQ {
    /// The answer to this offer.
    pub fn to(offer: &Signed<GoodsM>) -> GoodsQ {
        GoodsQ { goods_m: Digest::of(&[offer.bytes()]) }
    }
}
