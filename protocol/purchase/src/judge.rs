//! The judge: who may claim what from which messages (AAT §4), and who has broken the protocol.
//!
//! | holder | shows | may claim |
//! | --- | --- | --- |
//! | merchant | *commit*, *authorization_b* | its credit from the bank |
//! | bank | *commit*, *authorization_q* | that the tokens are spent |
//! | buyer | *abort*, *authorization_q* (and q) | that the tokens are unlocked |
//! | buyer | *commit*, *goods_m*, the encrypted goods | what was delivered |
//! | merchant | *commit* with Q, *goods_q*, *goods_m*, the encrypted goods | what was delivered to the holder of Q (§8.6) |
//!
//! Messages belong together only if they agree on (n, expiry, M, L); *goods_m* on (n, M) and the commitment c. The purchase
//! judged is that of the bank's header, or of the authorization if there is none. Signatures are checked against the keys
//! the judge trusts, and nobody's word counts for somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use naulon_exchange::{
    AuthorizationB, Exchange, Header, LogDecision, LogIdentity, ProvenDecision, UnverifiedDecision, key_commitment,
};
use naulon_money::{Amount, Currency};
use naulon_statement::{Digest, Joint, PublicKey, Signed, Statement, Unverified, cbor};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Whoever keeps a public log signed two trees of which neither continues the other.
    TwoTrees,
    /// The log entered a time that lies before an earlier entry's.
    TimeWentBack,
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

/// Judges one purchase. `open_goods` decrypts the encrypted goods with the log's key by the offer, and says how that went. It
/// returns `None` if the judge does not have them, or has bytes whose digest is not the offer's: from those nothing follows,
/// least of all against the merchant.
pub fn judge(
    evidence: &Evidence,
    trust: &Trust,
    open_goods: impl FnOnce(&GoodsM, &[u8; 32]) -> Option<Result<(), GoodsError>>,
) -> Judgement {
    let mut judgement = Judgement::default();
    let parts = Parts::read(evidence, trust, &mut judgement);
    if !parts.names_a_purchase() {
        judge_decisions_alone(&parts.decisions, &mut judgement);
    }
    let Some(case) = Case::of(parts, &mut judgement) else { return judgement };
    case.judge_bank(&mut judgement);
    case.judge_log(&mut judgement);
    case.claims(&mut judgement);
    case.judge_goods(&mut judgement, open_goods);
    judgement
}

/// The parts that hold by themselves.
#[derive(Default)]
struct Parts {
    goods_m: Option<Signed<GoodsM>>,
    goods_q: Option<Signed<GoodsQ>>,
    authorization_q: Option<Joint<Exchange>>,
    header: Option<Signed<Header>>,
    authorization_b: Option<Signed<AuthorizationB>>,
    decisions: Vec<ProvenDecision>,
}

impl Parts {
    fn read(evidence: &Evidence, trust: &Trust, judgement: &mut Judgement) -> Parts {
        let mut parts = Parts::default();
        let by_bank = |key: &PublicKey| trust.banks.contains(key);
        let by_merchant = |key: &PublicKey| trust.merchants.contains(key);
        // Whoever signs speaks for itself alone: a bank's word on another bank, or a merchant's on another, is nothing.
        parts.header = read_signed("header", &evidence.header, by_bank, |header: &Header| Some(header.bank), judgement);
        parts.authorization_b = read_signed("authorization_b", &evidence.authorization_b, by_bank, |_| None, judgement);
        let merchant = |offer: &GoodsM| Some(offer.merchant);
        parts.goods_m = read_signed("goods_m", &evidence.goods_m, by_merchant, merchant, judgement);
        parts.goods_q = read_signed("goods_q", &evidence.goods_q, |_| true, |_| None, judgement);
        if let Some(joint) = &evidence.authorization_q {
            match joint.parse().and_then(|joint| joint.verify()) {
                Ok(joint) if is_authorization(&joint) => parts.authorization_q = Some(joint),
                Ok(_) => judgement.dismiss("authorization_q", "not an authorization signed by every token's key"),
                Err(error) => judgement.dismiss("authorization_q", error),
            }
        }
        for bytes in &evidence.decisions {
            match read_decision(bytes, trust) {
                Ok(decision) => parts.decisions.push(decision),
                Err(why) => judgement.dismiss("decision", why),
            }
        }
        parts
    }
}

impl Parts {
    fn names_a_purchase(&self) -> bool {
        self.header.is_some() || self.authorization_q.is_some()
    }
}

/// What a log's decisions prove against it by themselves, as an outsider finds them in the public tree: both outcomes on one
/// header, and a time that does not suit the outcome.
fn judge_decisions_alone(decisions: &[ProvenDecision], judgement: &mut Judgement) {
    let mut broken = BTreeSet::new();
    let mut outcomes = BTreeMap::<_, BTreeSet<bool>>::new();
    for proven in decisions {
        let decision = proven.decision();
        let (log, is_commit) = (proven.signer(), decision.key().is_some());
        let seen = outcomes.entry((log, decision.header)).or_default();
        seen.insert(is_commit);
        if seen.len() > 1 {
            broken.insert((log, Breach::BothOutcomes));
        }
        if !proven.is_in_time() {
            broken.insert((log, Breach::OutOfTime));
        }
    }
    judgement.breaches.extend(broken.into_iter().map(|(log, breach)| (Party::Log(log), breach)));
}

/// The parts that belong to one purchase.
struct Case {
    /// The bank's header; the one that the authorization calls for, if the bank's is missing.
    header: Header,
    goods_m: Option<Signed<GoodsM>>,
    goods_q: Option<Signed<GoodsQ>>,
    /// An authorization whose id is the header's a. The header may still say something else than it asks for.
    authorization_q: Option<Joint<Exchange>>,
    /// The bank's promise on that header.
    authorization_b: Option<Signed<AuthorizationB>>,
    decisions: Vec<ProvenDecision>,
}

impl Case {
    /// Messages belong together if they agree on (n, expiry, M, L), which the header binds; goods_m if it agrees on n, M and c.
    fn of(parts: Parts, judgement: &mut Judgement) -> Option<Case> {
        let Parts { goods_m, goods_q, authorization_q, header, authorization_b, decisions } = parts;
        let asked = || authorization_q.as_ref().and_then(|joint| Header::of(joint, joint.id()));
        let header = header.map(Signed::into_body).or_else(asked)?;
        let digest = header.digest();
        let mut keep = |part, belongs: bool| {
            if !belongs {
                judgement.dismiss(part, "belongs to another purchase");
            }
            belongs
        };
        // The promise names the header by its digest, so it binds the bank to it also where the bank's own copy is missing.
        let is_promise = |promise: &Signed<AuthorizationB>| promise.header == digest && promise.signer() == header.bank;
        let is_offer =
            |offer: &Signed<GoodsM>| offer.n == header.n && offer.merchant == header.merchant && offer.c == header.c;
        let is_decision = |proven: &ProvenDecision| {
            let decision = proven.decision();
            let names_it = decision.a == header.a && decision.expiry == header.expiry && decision.q == header.q;
            names_it && proven.is_about(&header) && decision.header == digest && proven.signer() == header.log
        };
        let goods_m = goods_m.filter(|offer| keep("goods_m", is_offer(offer)));
        let is_answer = |answer: &Signed<GoodsQ>| {
            let by_q = Some(answer.signer()) == header.q;
            by_q && goods_m.as_ref().is_none_or(|offer| **answer == GoodsQ::to(offer))
        };
        Some(Case {
            goods_q: goods_q.filter(|answer| keep("goods_q", is_answer(answer))),
            authorization_q: authorization_q.filter(|joint| keep("authorization_q", joint.id() == header.a)),
            authorization_b: authorization_b.filter(|promise| keep("authorization_b", is_promise(promise))),
            decisions: decisions.into_iter().filter(|proven| keep("decision", is_decision(proven))).collect(),
            goods_m,
            header,
        })
    }

    /// Whether header and authorization say the same. If not, the bank has promised what nobody asked for, and can hold
    /// nobody to it.
    fn is_as_authorized(&self, joint: &Joint<Exchange>) -> bool {
        Header::of(joint, joint.id()).as_ref() == Some(&self.header)
    }

    /// The bank is held to what it was authorized to promise.
    fn judge_bank(&self, judgement: &mut Judgement) {
        let Some(joint) = &self.authorization_q else { return };
        let promised = AuthorizationB::of(joint, &self.header);
        let promise_fits = self.authorization_b.as_ref().is_none_or(|promise| Some(&**promise) == promised.as_ref());
        if !self.is_as_authorized(joint) || !promise_fits {
            judgement.breaches.push((Party::Bank(self.header.bank), Breach::PromiseMisfit));
        }
    }

    fn judge_log(&self, judgement: &mut Judgement) {
        let mut broken = BTreeSet::new();
        let mut outcomes = BTreeSet::new();
        for proven in &self.decisions {
            let decision = proven.decision();
            outcomes.insert(decision.key().is_some());
            if decision.key().is_some_and(|k| key_commitment(&self.header.n, k) != self.header.c) {
                broken.insert(Breach::WrongKey);
            } else if !proven.fits(&self.header) {
                broken.insert(Breach::OutOfTime);
            }
        }
        if outcomes.len() > 1 {
            broken.insert(Breach::BothOutcomes);
        }
        judgement.breaches.extend(broken.into_iter().map(|breach| (Party::Log(self.header.log), breach)));
    }

    /// The decisions that bind the parties: made in time, and a commit with the right key.
    fn binding(&self, commit: bool) -> Option<&LogDecision> {
        let opens = |k: &[u8; 32]| key_commitment(&self.header.n, k) == self.header.c;
        let mut binding =
            self.decisions.iter().filter(|proven| proven.fits(&self.header)).map(ProvenDecision::decision);
        binding.find(|decision| decision.key().is_some() == commit && decision.key().is_none_or(opens))
    }

    /// Each outcome that the log has signed entitles those who relied on it. If it signed both, that is its own breach.
    fn claims(&self, judgement: &mut Judgement) {
        let bank = self.header.bank;
        let authorization = self.authorization_q.as_ref().filter(|joint| self.is_as_authorized(joint));
        let tokens = authorization.map(|joint| joint.tokens().count());
        if self.binding(true).is_some() {
            judgement.claims.extend(self.authorization_b.as_ref().map(|promise| Claim::Credit {
                merchant: self.header.merchant,
                bank,
                value: promise.value,
                currency: promise.currency.clone(),
            }));
            judgement.claims.extend(tokens.map(|tokens| Claim::Spent { bank, tokens }));
        }
        if self.binding(false).is_some() {
            judgement.claims.extend(tokens.map(|tokens| Claim::Unlocked { bank, tokens }));
        }
    }

    /// What was delivered: the goods open with the log's key, and are what the merchant's contract says.
    fn judge_goods(
        &self,
        judgement: &mut Judgement,
        open_goods: impl FnOnce(&GoodsM, &[u8; 32]) -> Option<Result<(), GoodsError>>,
    ) {
        let k = self.binding(true).and_then(LogDecision::key);
        let (Some(offer), Some(k)) = (&self.goods_m, k) else { return };
        let (merchant, goods) = (offer.merchant, offer.contract.digest);
        match open_goods(offer, k) {
            None => {}
            Some(Ok(())) => {
                judgement.claims.push(Claim::Contents { merchant, goods });
                let q = self.goods_q.as_ref().map(Signed::signer);
                judgement.claims.extend(q.map(|q| Claim::Delivered { q, goods }));
            }
            Some(Err(GoodsError::DoesNotOpen)) => {
                judgement.breaches.push((Party::Merchant(merchant), Breach::DoesNotOpen));
            }
            Some(Err(GoodsError::NotAsDescribed)) => {
                judgement.breaches.push((Party::Merchant(merchant), Breach::NotAsDescribed));
            }
        }
    }
}

/// An authorization counts if it has a condition and every token's key has signed it.
fn is_authorization(joint: &Joint<Exchange>) -> bool {
    let signed = |keys: Vec<PublicKey>| !keys.is_empty() && keys.iter().all(|key| joint.is_signed_by(key));
    joint.condition.is_some() && joint.spending_keys().is_some_and(signed)
}

fn read_signed<T: Statement>(
    part: &'static str,
    bytes: &Option<Vec<u8>>,
    is_trusted: impl FnOnce(&PublicKey) -> bool,
    speaker: impl FnOnce(&T) -> Option<PublicKey>,
    judgement: &mut Judgement,
) -> Option<Signed<T>> {
    let signed = Unverified::<T>::parse(bytes.as_ref()?).and_then(|statement| {
        let signer = speaker(statement.claimed_body()).unwrap_or(statement.claimed_signer());
        statement.verify(&signer)
    });
    match signed {
        Ok(signed) if is_trusted(&signed.signer()) => return Some(signed),
        Ok(signed) => judgement.dismiss(part, format_args!("signed by {}, who is not trusted", signed.signer())),
        Err(error) => judgement.dismiss(part, error),
    }
    None
}

fn read_decision(bytes: &[u8], trust: &Trust) -> Result<ProvenDecision, String> {
    let unverified: UnverifiedDecision = cbor::from_slice(bytes).map_err(|error| error.to_string())?;
    let log = trust.logs.get(&unverified.decision.claimed_signer()).ok_or("signed by a log that is not trusted")?;
    unverified.verify(log).map_err(|error| error.to_string())
}
