//! The judge: who may claim what from which messages (AAT §4), and who has broken the protocol.
//!
//! | holder | shows | may claim |
//! | --- | --- | --- |
//! | merchant | *commit*, *authorization_b* | its credit from the bank |
//! | bank | *commit*, *authorization_q* | that the tokens are spent |
//! | buyer | *abort*, *authorization_q* (and q) | that the tokens are unlocked |
//! | buyer | *commit*, *goods_m*, the encrypted goods | what was delivered |
//! | merchant | *commit* with Q, *goods_q*, *goods_m* | what was delivered to the holder of Q (§8.6) |
//!
//! Messages belong together only if they agree on (n, expiry, M, L); *goods_m* on (n, M). Signatures are checked against
//! the keys the judge trusts, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use naulon_exchange::{
    AuthorizationB, Exchange, Header, LogIdentity, Outcome, ProvenDecision, UnverifiedDecision, key_commitment,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Joint, PublicKey, Signed, Unverified, cbor};

use crate::evidence::Evidence;
use crate::goods::GoodsError;
use crate::offer::{GoodsM, GoodsQ};

/// Whose signatures the judge heeds.
#[derive(Clone, Default)]
pub struct Trust {
    /// Banks.
    pub banks: BTreeSet<PublicKey>,
    /// Logs.
    pub logs: BTreeMap<PublicKey, LogIdentity>,
    /// Merchants.
    pub merchants: BTreeSet<PublicKey>,
}

/// A party of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The bank of this key.
    Bank(PublicKey),
    /// The log of this key.
    Log(PublicKey),
    /// The merchant of this key.
    Merchant(PublicKey),
}

/// What the evidence entitles somebody to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The merchant may demand this credit.
    Credit {
        /// Who may claim.
        merchant: PublicKey,
        /// From whom.
        bank: PublicKey,
        /// How much.
        value: Amount,
        /// In which currency.
        currency: Currency,
    },
    /// The bank may refuse the tokens as spent.
    Spent {
        /// Who may refuse.
        bank: PublicKey,
        /// How many tokens.
        tokens: usize,
    },
    /// Whoever holds the tokens' keys may demand that they are unlocked.
    Unlocked {
        /// From whom.
        bank: PublicKey,
        /// How many tokens.
        tokens: usize,
    },
    /// The buyer can prove what was delivered.
    Contents {
        /// By whom.
        merchant: PublicKey,
        /// The digest of the plain goods in the contract.
        goods: Digest,
    },
    /// The merchant can prove what was delivered to the holder of Q.
    Delivered {
        /// To whom.
        q: PublicKey,
        /// The digest of the plain goods in the contract.
        goods: Digest,
    },
}

/// A broken rule that the evidence proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The log signed both commit and abort.
    BothOutcomes,
    /// The log committed to a key that does not open c.
    WrongKey,
    /// The log committed after the expiry, or aborted before it.
    OutOfTime,
    /// The bank's header or promise does not say what the buyer authorized.
    PromiseMisfit,
    /// The merchant's key does not open the goods.
    DoesNotOpen,
    /// The goods are not what the merchant's contract describes.
    NotAsDescribed,
}

/// What the evidence amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The messages belong together and entitle somebody to something; nobody has broken a rule.
    Consistent,
    /// A breach is proven.
    Breach,
    /// Too little holds to say anything.
    NotEnough,
}

/// The judge's finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What follows.
    pub claims: Vec<Claim>,
    /// Who broke which rule.
    pub breaches: Vec<(Party, Breach)>,
    /// Parts that were laid before the judge and do not count, and why.
    pub dismissed: Vec<(&'static str, String)>,
}

impl Judgement {
    /// In one word.
    pub fn standing(&self) -> Standing {
        match (self.breaches.is_empty(), self.claims.is_empty()) {
            (false, _) => Standing::Breach,
            (true, false) => Standing::Consistent,
            (true, true) => Standing::NotEnough,
        }
    }

    fn dismiss(&mut self, part: &'static str, why: impl fmt::Display) {
        self.dismissed.push((part, why.to_string()));
    }
}

/// Judges one purchase. `open_goods` decrypts the encrypted goods, if the judge has them, with the log's key by the offer,
/// and says how that went; a judge without the goods returns `None`.
pub fn judge(
    evidence: &Evidence,
    trust: &Trust,
    open_goods: impl FnOnce(&GoodsM, &[u8; 32]) -> Option<Result<(), GoodsError>>,
) -> Judgement {
    let mut judgement = Judgement::default();
    let case = Case::read(evidence, trust, &mut judgement);
    case.check_log(&mut judgement);
    case.check_promise(&mut judgement);
    case.claims(&mut judgement);
    case.check_goods(&mut judgement, open_goods);
    judgement
}

/// The parts that hold by themselves.
#[derive(Default)]
struct Case {
    goods_m: Option<Signed<GoodsM>>,
    goods_q: Option<Signed<GoodsQ>>,
    authorization_q: Option<Joint<Exchange>>,
    header: Option<Signed<Header>>,
    authorization_b: Option<Signed<AuthorizationB>>,
    decisions: Vec<ProvenDecision>,
}

impl Case {
    fn read(evidence: &Evidence, trust: &Trust, judgement: &mut Judgement) -> Case {
        let mut case = Case::default();
        let by_bank = |key: &PublicKey| trust.banks.contains(key);
        let by_merchant = |key: &PublicKey| trust.merchants.contains(key);
        case.header = read_signed("header", &evidence.header, by_bank, judgement);
        case.authorization_b = read_signed("authorization_b", &evidence.authorization_b, by_bank, judgement);
        case.goods_m = read_signed("goods_m", &evidence.goods_m, by_merchant, judgement);
        case.goods_q = read_signed("goods_q", &evidence.goods_q, |_| true, judgement);
        if let Some(joint) = &evidence.authorization_q {
            match joint.parse().and_then(|joint| joint.verify()) {
                Ok(joint) => case.keep_authorization_q(joint, judgement),
                Err(error) => judgement.dismiss("authorization_q", error),
            }
        }
        for bytes in &evidence.decisions {
            match read_decision(bytes, trust) {
                Ok(decision) => case.decisions.push(decision),
                Err(why) => judgement.dismiss("decision", why),
            }
        }
        case
    }

    /// An authorization counts if every token's key has signed it.
    fn keep_authorization_q(&mut self, joint: Joint<Exchange>, judgement: &mut Judgement) {
        let signed = joint.tokens().all(|token| joint.is_signed_by(&PublicKey(*token.nonce())));
        if joint.condition.is_none() || !signed || joint.tokens().next().is_none() {
            judgement.dismiss("authorization_q", "not an authorization signed by every token's key");
        } else {
            self.authorization_q = Some(joint);
        }
    }

    /// The decisions on this purchase: those that name the header, or the authorization if there is no header.
    fn on_this_purchase(&self) -> impl Iterator<Item = &ProvenDecision> {
        let header = self.known_header();
        self.decisions.iter().filter(move |decision| {
            header
                .as_ref()
                .is_some_and(|h| decision.decision().header == h.digest() && decision.decision().signer() == h.log)
        })
    }

    /// The bank's header; the one that the authorization calls for, if the bank's is missing.
    fn known_header(&self) -> Option<Header> {
        let asked = || self.authorization_q.as_ref().and_then(|joint| Header::of(joint, joint.id()));
        self.header.as_deref().cloned().or_else(asked)
    }

    fn check_log(&self, judgement: &mut Judgement) {
        let Some(header) = self.known_header() else { return };
        let log = Party::Log(header.log);
        let mut outcomes = BTreeSet::new();
        for proven in self.on_this_purchase() {
            let decision = proven.decision();
            outcomes.insert(decision.key().is_some());
            if decision.key().is_some_and(|k| key_commitment(&header.n, k) != header.c) {
                judgement.breaches.push((log, Breach::WrongKey));
            } else if !decision.fits(&header) {
                judgement.breaches.push((log, Breach::OutOfTime));
            }
        }
        if outcomes.len() > 1 {
            judgement.breaches.push((log, Breach::BothOutcomes));
        }
    }

    /// The bank is held to what it was authorized to promise.
    fn check_promise(&self, judgement: &mut Judgement) {
        let (Some(joint), Some(header)) = (&self.authorization_q, &self.header) else { return };
        if header.a != joint.id() {
            judgement.dismiss("authorization_q", "the bank's header is for another authorization");
            return;
        }
        let header_fits = Header::of(joint, joint.id()).as_ref() == Some(&**header);
        let belongs = |promise: &&Signed<AuthorizationB>| promise.header == header.digest();
        let promise = self.authorization_b.as_ref().filter(belongs);
        let promise_fits = promise.is_none_or(|promise| AuthorizationB::of(joint, header).as_ref() == Some(&**promise));
        if !header_fits || !promise_fits {
            judgement.breaches.push((Party::Bank(header.bank), Breach::PromiseMisfit));
        }
    }

    fn claims(&self, judgement: &mut Judgement) {
        let Some(header) = self.known_header() else { return };
        let mut outcomes = self.on_this_purchase().filter(|proven| proven.decision().fits(&header));
        let Some(proven) = outcomes.next() else { return };
        let tokens =
            self.authorization_q.as_ref().filter(|joint| joint.id() == header.a).map(|joint| joint.tokens().count());
        match (proven.decision().outcome, tokens) {
            (Outcome::Commit { .. }, tokens) => {
                if let Some(promise) = self.promise_of(&header) {
                    judgement.claims.push(Claim::Credit {
                        merchant: header.merchant,
                        bank: header.bank,
                        value: promise.value,
                        currency: promise.currency.clone(),
                    });
                }
                judgement.claims.extend(tokens.map(|tokens| Claim::Spent { bank: header.bank, tokens }));
            }
            (Outcome::Abort, tokens) => {
                judgement.claims.extend(tokens.map(|tokens| Claim::Unlocked { bank: header.bank, tokens }));
            }
        }
    }

    fn check_goods(
        &self,
        judgement: &mut Judgement,
        open_goods: impl FnOnce(&GoodsM, &[u8; 32]) -> Option<Result<(), GoodsError>>,
    ) {
        let Some((header, offer, k)) = self.bought_offer() else { return };
        let merchant = Party::Merchant(offer.merchant);
        let claim = Claim::Contents { merchant: offer.merchant, goods: offer.contract.digest };
        match open_goods(offer, k) {
            None => {}
            Some(Ok(())) => judgement.claims.push(claim),
            Some(Err(GoodsError::DoesNotOpen)) => judgement.breaches.push((merchant, Breach::DoesNotOpen)),
            Some(Err(GoodsError::NotAsDescribed)) => judgement.breaches.push((merchant, Breach::NotAsDescribed)),
        }
        let Some(goods_q) = &self.goods_q else { return };
        match header.q {
            Some(q) if goods_q.signer() == q && **goods_q == GoodsQ::to(offer) => {
                judgement.claims.push(Claim::Delivered { q, goods: offer.contract.digest });
            }
            _ => judgement.dismiss("goods_q", "not signed by the Q of this purchase over this offer"),
        }
    }

    /// The offer that the purchase is for (they agree on n, M and c) and the key that the log committed to.
    fn bought_offer(&self) -> Option<(Header, &Signed<GoodsM>, &[u8; 32])> {
        let header = self.known_header()?;
        let offer = self.goods_m.as_ref()?;
        let same = offer.n == header.n && offer.merchant == header.merchant && offer.c == header.c;
        let opens = |k: &&[u8; 32]| key_commitment(&header.n, k) == header.c;
        let k = self.on_this_purchase().filter_map(|proven| proven.decision().key()).find(opens)?;
        same.then_some((header, offer, k))
    }

    fn promise_of(&self, header: &Header) -> Option<&Signed<AuthorizationB>> {
        let digest = header.digest();
        self.header.as_ref()?;
        self.authorization_b.as_ref().filter(|promise| promise.header == digest && promise.signer() == header.bank)
    }
}

fn read_signed<T: naulon_statement::Statement>(
    part: &'static str,
    bytes: &Option<Vec<u8>>,
    trusted: impl FnOnce(&PublicKey) -> bool,
    judgement: &mut Judgement,
) -> Option<Signed<T>> {
    let bytes = bytes.as_ref()?;
    let signed = Unverified::<T>::parse(bytes).and_then(|statement| {
        let signer = statement.claimed_signer();
        statement.verify(&signer)
    });
    match signed {
        Ok(signed) if trusted(&signed.signer()) => Some(signed),
        Ok(signed) => {
            judgement.dismiss(part, format_args!("signed by {}, who is not trusted", signed.signer()));
            None
        }
        Err(error) => {
            judgement.dismiss(part, error);
            None
        }
    }
}

fn read_decision(bytes: &[u8], trust: &Trust) -> Result<ProvenDecision, String> {
    let unverified: UnverifiedDecision = cbor::from_slice(bytes).map_err(|error| error.to_string())?;
    let log = trust.logs.get(&unverified.decision.claimed_signer()).ok_or("signed by a log that is not trusted")?;
    unverified.verify(log).map_err(|error| error.to_string())
}
