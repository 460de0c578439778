//! What a client asks of a bank.

use minicbor::{Decode, Encode};
use naulon_blind::{BlindedMessage, ReusedKey, Token};
use naulon_money::{Amount, Currency};
use naulon_statement::{BoxPublicKey, Digest, PublicKey, Statement, Timestamp};
use naulon_tick::{Certificate, Check, Front};

use crate::chain::{Challenge, EarlyClose};
use crate::entry::Entry;
use crate::purse::{LoadNumber, Loaded};

/// The most inputs one exchange may have.
pub const MAX_INPUTS: usize = 128;
/// The most outputs one exchange may have.
pub const MAX_OUTPUTS: usize = 128;
/// The domain of a commitment to a merchandise key.
pub const KEY_COMMITMENT_DOMAIN: &[u8] = b"naulon/k";

/// The SHA-256 of an exchange's deterministic CBOR, without signatures. For a purchase it is the *a* of the protocol.
pub type RequestId = Digest;

/// 128 random bits that make an account order unlike every other of the same account.
pub type Order = [u8; 16];

/// The merchant's transaction number *n* (AAT §3.3): 128 random bits.
pub type SaleNumber = [u8; 16];

/// Instruments given up and instruments wanted, of the same total value.
///
/// Every key that an input names signs the exchange once (`naulon_statement::Joint`): accounts, tokens (their Q), and the
/// bank's operator for money from outside.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exchange {
    /// The bank that is asked.
    #[n(1)]
    pub bank: PublicKey,
    /// The currency of every amount.
    #[n(2)]
    pub currency: Currency,
    /// What is given up.
    #[n(3)]
    pub inputs: Vec<Input>,
    /// What is wanted.
    #[n(4)]
    pub outputs: Vec<Output>,
    /// When set, this is an *authorization_q*: nothing is delivered until the log commits.
    #[n(5)]
    pub condition: Option<Condition>,
    /// To whom the blind signatures are sealed, if that is not whoever asks.
    #[n(6)]
    pub seal_to: Option<BoxPublicKey>,
}

impl Statement for Exchange {
    const CONTENT_TYPE: &'static str = "application/naulon.exchange+cbor";
}

/// An instrument given up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant)] // Most inputs are tokens, which are as large.
pub enum Input {
    /// Money that came to the bank from outside, vouched for by the operator's key.
    #[n(0)]
    Outside {
        /// How much came in.
        #[n(0)]
        amount: Amount,
        /// The operator's reference of the incoming payment; each is credited once.
        #[n(1)]
        #[cbor(with = "minicbor::bytes")]
        reference: Order,
    },
    /// Money of an account, by an order its key signs.
    #[n(1)]
    Account {
        /// The account's key.
        #[n(0)]
        account: PublicKey,
        /// How much is taken.
        #[n(1)]
        amount: Amount,
        /// Makes this order unlike every other of the account.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        order: Order,
    },
    /// A token (AAT §3.2); its key Q signs.
    #[n(2)]
    Token {
        /// The token; its brand gives the value.
        #[n(0)]
        token: Token,
        /// Q and s, if the token shares its key with others (AAT §8.1). Else its nonce is Q.
        #[n(1)]
        key: Option<ReusedKey>,
        /// How much of the token is given up, if the rest is to remain on it (AAT §8.3). Else it is consumed whole.
        #[n(2)]
        part: Option<Amount>,
    },
    /// The ticks of a check from one to a later one (MixPay §5.3); the check's payee signs.
    #[n(3)]
    Chain {
        /// The check.
        #[n(0)]
        check: Check,
        /// As far as the bank has paid: the check's root, or the last tick that was cashed.
        #[n(1)]
        from: Front,
        /// As far as it is to pay.
        #[n(2)]
        to: Front,
        /// The bank's question, so that it is the payee who asks, and now.
        #[n(3)]
        challenge: Challenge,
    },
    /// What was not spent of a check; its refund key signs.
    #[n(4)]
    Remainder {
        /// The check's commitment.
        #[n(0)]
        commitment: Digest,
        /// The check's refund key.
        #[n(1)]
        refund: PublicKey,
        /// What has been taken before.
        #[n(2)]
        returned: Amount,
        /// How much is taken.
        #[n(3)]
        amount: Amount,
        /// The payee's word, if it is taken before expiry and grace are over.
        #[n(4)]
        early: Option<EarlyClose>,
    },
    /// A check that a purse has made out (MixPay §5.3): its total is set aside from what is loaded, in the same exchange's
    /// [`Output::Chain`] of the same check. Payee or maker signs.
    #[n(5)]
    Purse {
        /// The check.
        #[n(0)]
        check: Check,
        /// The purse's signature: a token whose nonce is the check's commitment.
        #[n(1)]
        token: Token,
        /// The check's payee, who is about to cash it, or its refund key.
        #[n(2)]
        signer: PublicKey,
    },
}

impl Input {
    /// A whole token whose nonce is its key.
    pub fn token(token: Token) -> Self {
        Input::Token { token, key: None, part: None }
    }
}

impl Output {
    /// The money of a check, if that can be counted.
    pub fn chain(check: &Check) -> Option<Self> {
        Some(Output::Chain {
            commitment: check.commitment(),
            maximum: check.maximum()?,
            expiry: check.expiry,
            payee: check.payee_digest(),
            refund: check.refund,
        })
    }
}

/// Q: the key that spends a token.
pub fn spending_key(token: &Token, key: Option<&ReusedKey>) -> PublicKey {
    key.map_or(PublicKey(*token.nonce()), |key| key.q)
}

/// An instrument wanted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Output {
    /// A credit to an account of this bank.
    #[n(0)]
    Account {
        /// The account's key.
        #[n(0)]
        account: PublicKey,
        /// How much is credited.
        #[n(1)]
        amount: Amount,
    },
    /// A blind signature by a brand's key: a new token for whoever can unblind it.
    #[n(1)]
    Blinded {
        /// The brand's full token key id.
        #[n(0)]
        brand: Digest,
        /// The blinded message.
        #[n(1)]
        message: BlindedMessage,
    },
    /// Money set aside for a check, of which the bank learns nothing else before ticks are cashed. The reply has the bank's
    /// certificate.
    #[n(2)]
    Chain {
        /// The check's commitment: one lock a check.
        #[n(0)]
        commitment: Digest,
        /// What all its ticks pay together.
        #[n(1)]
        maximum: Amount,
        /// The check's expiry.
        #[n(2)]
        expiry: Timestamp,
        /// The check's payee digest.
        #[n(3)]
        payee: Digest,
        /// The check's refund key.
        #[n(4)]
        refund: PublicKey,
    },
    /// A purse's load (MixPay §5.3): put aside for the checks of its brand. The reply has the bank's word for it.
    #[n(3)]
    Load {
        /// The brand of purse checks.
        #[n(0)]
        brand: Digest,
        /// How much: a multiple of the brand's denomination.
        #[n(1)]
        amount: Amount,
        /// The purse's number.
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        number: LoadNumber,
    },
}

/// What must happen before the outputs are delivered: the purchase that an *authorization_q* is for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Condition {
    /// The merchant's transaction number.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub n: SaleNumber,
    /// M: the merchant's key, and its account at this bank. Exactly one output credits it: the price.
    #[n(2)]
    pub merchant: PublicKey,
    /// The log commits before this instant or not at all.
    #[n(3)]
    pub expiry: Timestamp,
    /// L: the log that decides.
    #[n(4)]
    pub log: PublicKey,
    /// c: the commitment to the merchandise key, from *goods_m*.
    #[n(5)]
    pub c: Digest,
    /// Two-sided delivery (AAT §8.6): the key of *goods_q*, which is the first token's.
    #[n(6)]
    pub q: Option<PublicKey>,
    /// How the purchase is to stand in the log (AAT §8.5).
    #[n(7)]
    #[cbor(default, skip_if = "Entry::is_plain")]
    pub entry: Entry,
    /// Who takes header and promise to the merchant (AAT §3.3, P3).
    #[n(8)]
    #[cbor(default, skip_if = "Carrier::is_wallet")]
    pub carrier: Carrier,
}

/// Who takes *authorization_b* to the merchant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Carrier {
    /// The wallet, which thus learns first that the bank has locked.
    #[default]
    #[n(0)]
    Wallet,
    /// The bank, as in the paper: the buyer may be off-line from then on.
    #[n(1)]
    Bank,
}

impl Carrier {
    /// Whether it is the wallet, which the statement then leaves out.
    pub fn is_wallet(&self) -> bool {
        *self == Carrier::Wallet
    }
}

/// The name of a blinded output: SHA-256("naulon/output" ‖ token key id ‖ blinded message). A bank finds by it what it has
/// signed once, and signs it again.
pub fn output_key(brand: &Digest, message: &BlindedMessage) -> Digest {
    Digest::of(&[b"naulon/output", brand.as_bytes(), message.as_bytes()])
}

/// c = SHA-256("naulon/k" ‖ n ‖ k).
pub fn key_commitment(n: &SaleNumber, k: &[u8; 32]) -> Digest {
    Digest::of(&[KEY_COMMITMENT_DOMAIN, n, k])
}

impl Exchange {
    /// The value paid to the merchant, if this is an *authorization_q* with exactly one credit to it.
    pub fn price(&self) -> Option<Amount> {
        let condition = self.condition.as_ref()?;
        let mut credits = self.outputs.iter().filter_map(|output| match output {
            Output::Account { account, amount } if *account == condition.merchant => Some(*amount),
            _ => None,
        });
        credits.next().filter(|_| credits.next().is_none())
    }

    /// The tokens given up, in order.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Token { token, .. } => Some(token),
            _ => None,
        })
    }

    /// The keys that spend the tokens given up, in order. None if one is shown with a key and a serial number that its nonce
    /// does not stand for: then nobody can tell whose it is.
    pub fn spending_keys(&self) -> Option<Vec<PublicKey>> {
        let of_tokens = self.inputs.iter().filter_map(|input| match input {
            Input::Token { token, key, .. } => {
                let fits = key.is_none_or(|key| key.nonce() == *token.nonce());
                Some(fits.then(|| spending_key(token, key.as_ref())))
            }
            _ => None,
        });
        of_tokens.collect()
    }

    /// The blind signatures wanted, in order: brand and message.
    pub fn blinded(&self) -> impl Iterator<Item = (&Digest, &BlindedMessage)> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Blinded { brand, message } => Some((brand, message)),
            Output::Account { .. } | Output::Chain { .. } | Output::Load { .. } => None,
        })
    }

    /// What the bank certifies once the exchange is done, in the order of the checks that it sets money aside for.
    pub fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Chain { commitment, maximum, expiry, payee, .. } => Some(Certificate {
                bank: self.bank,
                currency: self.currency.clone(),
                commitment: *commitment,
                maximum: *maximum,
                expiry: *expiry,
                payee: *payee,
            }),
            Output::Account { .. } | Output::Blinded { .. } | Output::Load { .. } => None,
        })
    }

    /// What the bank states of loads once the exchange is done, in their order.
    pub fn loads(&self) -> impl Iterator<Item = Loaded> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Load { brand, amount, number } => Some(Loaded {
                bank: self.bank,
                currency: self.currency.clone(),
                brand: *brand,
                amount: *amount,
                load: *number,
            }),
            _ => None,
        })
    }
}

/// Opens an account, signed by the account's key. Opening an open account changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpenAccount {
    /// The bank that is asked.
    #[n(1)]
    pub bank: PublicKey,
    /// The new account.
    #[n(2)]
    pub account: PublicKey,
}

impl Statement for OpenAccount {
    const CONTENT_TYPE: &'static str = "application/naulon.open-account+cbor";
}

/// Asks for an account's balance, signed by the account's key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BalanceQuery {
    /// The bank that is asked.
    #[n(1)]
    pub bank: PublicKey,
    /// Whose balance.
    #[n(2)]
    pub account: PublicKey,
    /// When the question was signed; the bank answers only a fresh one.
    #[n(3)]
    pub at: Timestamp,
}

impl Statement for BalanceQuery {
    const CONTENT_TYPE: &'static str = "application/naulon.balance-query+cbor";
}

/// Asks what became of a token, signed by the token's key Q: whether it is free, or which request holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TokenQuery {
    /// The bank that is asked.
    #[n(1)]
    pub bank: PublicKey,
    /// The token key id of its brand.
    #[n(2)]
    pub brand: Digest,
    /// Q.
    #[n(3)]
    pub q: PublicKey,
    /// When the question was signed; the bank answers only a fresh one. A wallet names whole minutes, so that its clock
    /// does not tell it apart from others.
    #[n(4)]
    pub at: Timestamp,
    /// The serial number of a token that shares its key with others (AAT §8.1).
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub s: Option<[u8; 32]>,
}

impl TokenQuery {
    /// The nonce of the token that is asked about.
    pub fn nonce(&self) -> [u8; 32] {
        self.s.map_or(self.q.0, |s| ReusedKey { q: self.q, s }.nonce())
    }
}

impl Statement for TokenQuery {
    const CONTENT_TYPE: &'static str = "application/naulon.token-query+cbor";
}
