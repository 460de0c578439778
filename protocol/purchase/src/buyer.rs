//! The buyer's side: what to do next about one purchase, and what to keep (AAT §3.3, §5).
//!
//! The wallet writes the buyer down after every event and before every message, so that it can go on from any point. A
//! buyer asks for a step as often as it likes: every step may be repeated.

use minicbor::{Decode, Encode};
use naulon_exchange::{AuthorizationB, Exchange, Header, LogIdentity, Outcome, ProvenDecision, UnverifiedDecision};
use naulon_statement::{Digest, Joint, Signed, Timestamp, Unverified, UnverifiedJoint};

use crate::decision::{self, LogFault, Untaken};
use crate::evidence::{Evidence, JointBytes};
use crate::offer::{GoodsM, GoodsQ};

/// One purchase as its buyer sees it. It is read again as [`StoredBuyer`].
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Buyer {
    #[n(1)]
    offer: Signed<GoodsM>,
    #[n(2)]
    two_sided: bool,
    #[n(3)]
    fetched: bool,
    #[n(4)]
    authorization_q: Option<Joint<Exchange>>,
    #[n(5)]
    goods_q: Option<Signed<GoodsQ>>,
    #[n(6)]
    header: Option<Signed<Header>>,
    #[n(7)]
    authorization_b: Option<Signed<AuthorizationB>>,
    #[n(8)]
    decision: Option<ProvenDecision>,
    #[n(9)]
    against_log: Option<ProvenDecision>,
    #[n(10)]
    settled: bool,
    #[n(11)]
    goods: Option<Examined>,
    #[n(12)]
    ended: Option<Ending>,
}

/// What the goods turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Examined {
    #[n(0)]
    AsDescribed,
    #[n(1)]
    NotAsDescribed,
}

/// What the buyer does next. Every step may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch the encrypted goods and compare them with the offer's digest ([`Buyer::fetched`]).
    Fetch,
    /// Choose tokens and sign ([`Buyer::authorize`]).
    Authorize,
    /// Send authorization_q to the bank ([`Buyer::locked`], [`Buyer::lock_refused`]).
    Lock,
    /// Hand header and promise to the merchant, or look for the decision at the log ([`Buyer::decided`]).
    Pay,
    /// Ask the log for an abort; it may answer with a commit ([`Buyer::decided`]).
    Abort,
    /// Hand the decision to the bank and take the change ([`Buyer::settled`], [`Buyer::overruled`]).
    Settle,
    /// Decrypt the goods with the log's key ([`Buyer::delivered`], [`Buyer::cheated`]).
    Deliver,
    /// Nothing.
    Done(Ending),
}

/// How a purchase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Ending {
    /// Paid, and the goods are here as described.
    #[n(0)]
    Bought,
    /// The log aborted; the tokens are free.
    #[n(1)]
    Aborted,
    /// The bank did not lock and never will; the tokens were never touched.
    #[n(2)]
    NotLocked,
    /// Given up before anything was authorized.
    #[n(3)]
    GivenUp,
    /// Paid, but the key does not open the goods, or they are not as described: there is evidence against the merchant.
    #[n(4)]
    Cheated,
}

/// Why the buyer does not take what it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuyerError {
    /// The encrypted goods are not the ones of the offer.
    #[error("the encrypted goods are not the ones of the offer")]
    OtherGoods,
    /// The purchase is not at the point where this can happen.
    #[error("the purchase is not at that point")]
    OutOfTurn,
    /// The authorization is not one for this offer.
    #[error("the authorization is not one for this offer")]
    OtherAuthorization,
    /// The bank's header or promise does not hold, or is for another purchase.
    #[error("the bank's promise does not fit the authorization")]
    BankMisfit,
    /// The decision does not hold, is on another purchase, or was not made within its time.
    #[error("the log's decision does not fit the purchase")]
    DecisionMisfit,
    /// The log committed to a key that does not open c.
    #[error("the log's key does not open the merchant's commitment")]
    KeyMismatch,
    /// The log decided otherwise before.
    #[error("the log decided otherwise before")]
    Contradiction,
}

impl Buyer {
    /// A purchase of this offer, which has been checked ([`GoodsM::check`]). Two-sided if the buyer or the merchant wants.
    pub fn new(offer: Signed<GoodsM>, two_sided: bool) -> Self {
        let two_sided = two_sided || offer.two_sided;
        Buyer {
            offer,
            two_sided,
            fetched: false,
            authorization_q: None,
            goods_q: None,
            header: None,
            authorization_b: None,
            decision: None,
            against_log: None,
            settled: false,
            goods: None,
            ended: None,
        }
    }

    /// A purchase that a wallet has found again from its seed: the merchant's offer as the shop has served it once more, and
    /// the authorization that the bank has given back. The buyer had the goods before it authorized; it may have to fetch
    /// them again. `goods_q` is its signature over this offer, if delivery is two-sided.
    pub fn restored(
        offer: Signed<GoodsM>,
        authorization_q: Joint<Exchange>,
        goods_q: Option<Signed<GoodsQ>>,
    ) -> Result<Self, BuyerError> {
        let two_sided = authorization_q.condition.as_ref().is_some_and(|condition| condition.q.is_some());
        // The shop may want two-sided delivery by now; what was authorized stays as it is.
        let mut buyer = Buyer { two_sided, fetched: true, ..Buyer::new(offer, two_sided) };
        buyer.authorize(authorization_q, goods_q)?;
        Ok(buyer)
    }

    /// What to do next. An offer that is no longer valid is given up before it is authorized, and a lock that cannot be
    /// committed any more is aborted.
    pub fn next(&self, now: Timestamp) -> Step {
        // What the log has decided goes before everything else, be it that the bank said it would never lock.
        if let Some(decision) = &self.decision {
            return match (decision.decision().outcome, self.goods, self.settled) {
                // The goods first: they are what was paid for.
                (Outcome::Commit { .. }, None, _) => Step::Deliver,
                (_, _, false) => Step::Settle,
                (Outcome::Commit { .. }, Some(Examined::AsDescribed), true) => Step::Done(Ending::Bought),
                (Outcome::Commit { .. }, Some(Examined::NotAsDescribed), true) => Step::Done(Ending::Cheated),
                (Outcome::Abort, _, true) => Step::Done(Ending::Aborted),
            };
        }
        if let Some(ending) = self.ended {
            return Step::Done(ending);
        }
        let Some(authorization_q) = &self.authorization_q else {
            return match (self.fetched, now < self.offer.valid_until) {
                (_, false) => Step::Done(Ending::GivenUp),
                (false, true) => Step::Fetch,
                (true, true) => Step::Authorize,
            };
        };
        let expired = authorization_q.condition.as_ref().is_some_and(|condition| now >= condition.expiry);
        match (&self.header, expired) {
            // Also after the expiry: the bank may have locked, and its reply may be lost. Only the bank can tell.
            (None, _) => Step::Lock,
            (Some(_), false) => Step::Pay,
            (Some(_), true) => Step::Abort,
        }
    }

    /// The whole encrypted goods are on disk and have this digest.
    pub fn fetched(&mut self, digest: &Digest) -> Result<(), BuyerError> {
        if *digest != self.offer.goods {
            return Err(BuyerError::OtherGoods);
        }
        self.fetched = true;
        Ok(())
    }

    /// The signed authorization, and goods_q if delivery is two-sided. Write the buyer down before anything is sent.
    pub fn authorize(
        &mut self,
        authorization_q: Joint<Exchange>,
        goods_q: Option<Signed<GoodsQ>>,
    ) -> Result<(), BuyerError> {
        if !self.fetched || self.authorization_q.is_some() || self.ended.is_some() {
            return Err(BuyerError::OutOfTurn);
        }
        let condition = authorization_q.condition.as_ref().ok_or(BuyerError::OtherAuthorization)?;
        let offer = &self.offer;
        let for_this = condition.n == offer.n
            && condition.merchant == offer.merchant
            && condition.c == offer.c
            && offer.entry(condition.entry.mode()) == Some(condition.entry)
            && authorization_q.currency == offer.currency
            && authorization_q.price() == Some(offer.price)
            && offer.banks.contains(&authorization_q.bank)
            && offer.logs.contains(&condition.log);
        let answer = goods_q.as_ref().map(|goods_q| (goods_q.signer(), GoodsQ::clone(goods_q)));
        let expected = condition.q.filter(|_| self.two_sided).map(|q| (q, GoodsQ::to(offer)));
        if !for_this || answer != expected || self.two_sided != condition.q.is_some() {
            return Err(BuyerError::OtherAuthorization);
        }
        self.authorization_q = Some(authorization_q);
        self.goods_q = goods_q;
        Ok(())
    }

    /// The bank has locked: its header and promise. They are signed, so they overrule a refusal, which was not.
    pub fn locked(
        &mut self,
        header: Unverified<Header>,
        authorization_b: Unverified<AuthorizationB>,
    ) -> Result<(), BuyerError> {
        let authorization_q = self.authorization_q.as_ref().ok_or(BuyerError::OutOfTurn)?;
        let bank = authorization_q.bank;
        let header = header.verify(&bank).map_err(|_| BuyerError::BankMisfit)?;
        let authorization_b = authorization_b.verify(&bank).map_err(|_| BuyerError::BankMisfit)?;
        let expected = Header::of(authorization_q, authorization_q.id());
        let promise = AuthorizationB::of(authorization_q, &header);
        if expected.as_ref() != Some(&*header) || promise.as_ref() != Some(&*authorization_b) {
            return Err(BuyerError::BankMisfit);
        }
        self.header = Some(header);
        self.authorization_b = Some(authorization_b);
        self.ended = None;
        Ok(())
    }

    /// The bank refused to lock, and can never lock this authorization, not even if a repetition of the request that is
    /// still on its way reaches it: the request cannot succeed, or its expiry has passed on the bank's clock. The tokens are
    /// free, but for one that the refusal proves to be spent. A refusal that may pass is not reported here: ask again.
    pub fn lock_refused(&mut self) -> Result<(), BuyerError> {
        if self.authorization_q.is_none() || self.header.is_some() || self.decision.is_some() {
            return Err(BuyerError::OutOfTurn);
        }
        self.ended = Some(Ending::NotLocked);
        Ok(())
    }

    /// The log's decision, from whoever handed it over; the first one counts. It needs no header of the bank's: a bank that
    /// says "spent" must show it (AAT §4), and with it k. Write the buyer down also after an error: a decision by which the
    /// log has broken its rules is kept, and is evidence.
    pub fn decided(&mut self, decision: UnverifiedDecision, log: &LogIdentity) -> Result<(), BuyerError> {
        let header = self.expected_header().ok_or(BuyerError::OutOfTurn)?;
        Ok(decision::take(decision, log, &header, &mut self.decision, &mut self.against_log)?)
    }

    /// The decision that the bank has recorded, after it refused the buyer's as a contradiction. The bank's first outcome is
    /// final, so this one counts from now on; the buyer's is kept as evidence against the log.
    pub fn overruled(&mut self, recorded: UnverifiedDecision, log: &LogIdentity) -> Result<(), BuyerError> {
        let header = self.expected_header().ok_or(BuyerError::OutOfTurn)?;
        Ok(decision::take_recorded(recorded, log, &header, &mut self.decision, &mut self.against_log)?)
    }

    /// The bank has freed the tokens by its own clock, because the merchant keeps the log itself and has not claimed the
    /// purchase in time (AAT §7). A decision overrules it: it has k.
    pub fn lapsed(&mut self) -> Result<(), BuyerError> {
        if self.header.is_none() || self.decision.is_some() {
            return Err(BuyerError::OutOfTurn);
        }
        self.ended = Some(Ending::Aborted);
        Ok(())
    }

    /// The bank has settled, and the change is in the wallet.
    pub fn settled(&mut self) -> Result<(), BuyerError> {
        if self.decision.is_none() && self.ended != Some(Ending::Aborted) {
            return Err(BuyerError::OutOfTurn);
        }
        self.settled = true;
        Ok(())
    }

    /// The goods are decrypted and as described.
    pub fn delivered(&mut self) -> Result<(), BuyerError> {
        self.key().ok_or(BuyerError::OutOfTurn)?;
        self.goods = Some(Examined::AsDescribed);
        Ok(())
    }

    /// The key does not open the goods, or they are not as described. Compare the encrypted goods with the offer's digest
    /// once more before saying so: it may be the disk. The purchase still settles, for the change.
    pub fn cheated(&mut self) -> Result<(), BuyerError> {
        self.key().ok_or(BuyerError::OutOfTurn)?;
        self.goods.get_or_insert(Examined::NotAsDescribed);
        Ok(())
    }

    /// Gives the purchase up, if nothing has been authorized.
    pub fn give_up(&mut self) -> Result<(), BuyerError> {
        if self.authorization_q.is_some() {
            return Err(BuyerError::OutOfTurn);
        }
        self.ended = Some(Ending::GivenUp);
        Ok(())
    }

    /// The offer.
    pub fn offer(&self) -> &Signed<GoodsM> {
        &self.offer
    }

    /// Whether delivery is two-sided.
    pub fn is_two_sided(&self) -> bool {
        self.two_sided
    }

    /// The signed authorization, once there is one.
    pub fn authorization_q(&self) -> Option<&Joint<Exchange>> {
        self.authorization_q.as_ref()
    }

    /// The buyer's signature over the offer, for two-sided delivery.
    pub fn goods_q(&self) -> Option<&Signed<GoodsQ>> {
        self.goods_q.as_ref()
    }

    /// The bank's header and promise, once it has locked.
    pub fn promise(&self) -> Option<(&Signed<Header>, &Signed<AuthorizationB>)> {
        self.header.as_ref().zip(self.authorization_b.as_ref())
    }

    /// The log's decision, once there is one.
    pub fn decision(&self) -> Option<&ProvenDecision> {
        self.decision.as_ref()
    }

    /// k, once the log has committed.
    pub fn key(&self) -> Option<&[u8; 32]> {
        self.decision.as_ref().and_then(|decision| decision.decision().key())
    }

    /// The header that the authorization calls for: the bank's, as soon as there is one.
    fn expected_header(&self) -> Option<Header> {
        self.authorization_q.as_ref().and_then(|joint| Header::of(joint, joint.id()))
    }

    /// Everything the buyer can show a judge (AAT §4).
    pub fn evidence(&self) -> Evidence {
        Evidence {
            goods_m: Some(self.offer.bytes().to_vec()),
            goods_q: self.goods_q.as_ref().map(|statement| statement.bytes().to_vec()),
            authorization_q: self.authorization_q.as_ref().map(JointBytes::of),
            header: self.header.as_ref().map(|statement| statement.bytes().to_vec()),
            authorization_b: self.authorization_b.as_ref().map(|statement| statement.bytes().to_vec()),
            decisions: self.decision.iter().chain(&self.against_log).map(ProvenDecision::to_bytes).collect(),
        }
    }
}

impl From<Untaken> for BuyerError {
    fn from(untaken: Untaken) -> Self {
        match untaken {
            Untaken::Nothing | Untaken::Broken(LogFault::Misfit) => BuyerError::DecisionMisfit,
            Untaken::Broken(LogFault::WrongKey) => BuyerError::KeyMismatch,
            Untaken::Broken(LogFault::Contradiction) => BuyerError::Contradiction,
        }
    }
}

/// A buyer as a store keeps it.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct StoredBuyer {
    #[n(1)]
    offer: Unverified<GoodsM>,
    #[n(2)]
    two_sided: bool,
    #[n(3)]
    fetched: bool,
    #[n(4)]
    authorization_q: Option<UnverifiedJoint<Exchange>>,
    #[n(5)]
    goods_q: Option<Unverified<GoodsQ>>,
    #[n(6)]
    header: Option<Unverified<Header>>,
    #[n(7)]
    authorization_b: Option<Unverified<AuthorizationB>>,
    #[n(8)]
    decision: Option<UnverifiedDecision>,
    #[n(9)]
    against_log: Option<UnverifiedDecision>,
    #[n(10)]
    settled: bool,
    #[n(11)]
    goods: Option<Examined>,
    #[n(12)]
    ended: Option<Ending>,
}

impl StoredBuyer {
    /// The buyer, for bytes that this party wrote itself.
    pub fn from_own_store(self) -> Buyer {
        Buyer {
            offer: self.offer.from_own_store(),
            two_sided: self.two_sided,
            fetched: self.fetched,
            authorization_q: self.authorization_q.map(UnverifiedJoint::from_own_store),
            goods_q: self.goods_q.map(Unverified::from_own_store),
            header: self.header.map(Unverified::from_own_store),
            authorization_b: self.authorization_b.map(Unverified::from_own_store),
            decision: self.decision.map(UnverifiedDecision::from_own_store),
            against_log: self.against_log.map(UnverifiedDecision::from_own_store),
            settled: self.settled,
            goods: self.goods,
            ended: self.ended,
        }
    }
}
