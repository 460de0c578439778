//! Somebody with a token of one bank who tries to spend it at two.

use naulon_blind::{KnownBrand, Token, TokenSecrets};
use naulon_exchange::{AuthorizationB, Carrier, Condition, Entry, Exchange, Header, Input, Output, RequestId};
use naulon_money::Amount;
use naulon_purchase::{GoodsM, UnverifiedPayment};
use naulon_statement::{Digest, Duration, Joint, SecretKey, Signed, Timestamp, Unverified};
use naulon_wire::{BankCall, BankReply, Call, HttpResponse, ShopCall, ShopReply};
use rand_chacha::ChaCha8Rng;

use super::{BankParty, LogParty, ShopParty};
use crate::keys;

/// What the crook's tokens are worth, and the goods cost.
const VALUE: u64 = 100_000;

/// The crook, with one token of each bank.
#[derive(Default)]
pub struct Crook {
    purse: Vec<Token>,
    offer: Option<Signed<GoodsM>>,
    lock: Option<Joint<Exchange>>,
    /// What was tried, and the code of the refusal; none if it was not refused.
    pub tried: Vec<(&'static str, Option<String>)>,
    /// The purchase that the token was good for.
    pub bought: Option<RequestId>,
}

impl Crook {
    /// What the crook has left of a bank's tokens.
    pub fn holds(&self, bank: usize) -> Amount {
        let is_spent = bank == 0 && self.bought.is_some();
        Amount::from_micros(if bank < self.purse.len() && !is_spent { VALUE } else { 0 })
    }

    /// Tries everything. None if somebody did not answer: then all of it can be tried again.
    pub fn act(
        &mut self,
        banks: &mut [BankParty],
        shop: &mut ShopParty,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
    ) -> Option<()> {
        while self.purse.len() < 2 {
            let bank = self.purse.len();
            self.purse.push(withdraw(bank, &mut banks[bank], now)?);
        }
        if self.offer.is_none() {
            let call = ShopCall::Offer { item: "nothing".to_owned() };
            let response = shop.serve(&call.to_http(), now, rng)?;
            let ShopReply::Offer(offer) = call.reply_from_http(&response).ok()? else { return None };
            self.offer = offer.verify(&ShopParty::key(0)).ok();
        }
        let offer = self.offer.clone()?;
        let [of_first, of_second] = [self.purse[0], self.purse[1]];
        let lock = self.lock.get_or_insert_with(|| authorization(0, &[of_first], &offer, now)).clone();
        // The purchase is locked at the bank of the token, and then at the other one.
        let call = BankCall::Exchange(lock.clone().into());
        let response = banks[0].serve(&[call.to_http()], now)?.pop()?;
        let BankReply::Exchange(locked) = call.reply_from_http(&response).ok()? else { return None };
        self.tried.clear();
        let to_itself = Output::Account { account: BankParty::key(1), amount: Amount::from_micros(VALUE) };
        let plain = |bank, tokens: &[Token]| exchange(bank, tokens, vec![to_itself.clone()], None);
        let attempts = [
            ("the same token locked at the other bank", 1, authorization(1, &[of_first], &offer, now)),
            ("the first bank's authorization at the other", 1, lock.clone()),
            ("a token exchanged at the other bank", 1, plain(1, &[of_first])),
            ("tokens of both together at the first", 0, authorization(0, &[of_first, of_second], &offer, now)),
            ("tokens of both together at the other", 1, authorization(1, &[of_first, of_second], &offer, now)),
            ("a locked token in another exchange", 0, plain(0, &[of_first])),
        ];
        for (what, bank, request) in attempts {
            let request = BankCall::Exchange(request.into()).to_http();
            let response = banks[bank].serve(&[request], now)?.pop()?;
            self.tried.push((what, code(&response)));
        }
        // What the first bank has promised, in the name of the other.
        let header = locked.header.clone()?;
        let mut forged = header.claimed_body().clone();
        forged.bank = BankParty::key(1);
        let promise = AuthorizationB::of(&lock, header.claimed_body())?;
        let promise = Unverified::from(&Signed::sign(&BankParty::secret(1), promise));
        for (what, header, promise) in [
            ("a promise of the other bank on this bank's header", header.clone(), promise),
            (
                "this bank's promise on a header of the other",
                Unverified::from(&Signed::sign(&BankParty::secret(1), forged)),
                locked.authorization_b.clone()?,
            ),
        ] {
            let response = shop.serve(&pay(&offer, header, promise).to_http(), now, rng)?;
            self.tried.push((what, code(&response)));
        }
        // And in the end as it ought to be.
        let response = shop.serve(&pay(&offer, header, locked.authorization_b?).to_http(), now, rng)?;
        if code(&response).is_none() {
            self.bought = Some(lock.id());
        }
        Some(())
    }

    /// By which code an attempt has to be refused that was refused with this one.
    pub fn expected(what: &str, code: Option<&str>) -> &'static str {
        match what {
            // All is tried again if somebody died over it, maybe after the token had paid.
            "a locked token in another exchange" if code == Some("spent") => "spent",
            "the first bank's authorization at the other" => "wrong_bank",
            "a locked token in another exchange" => "locked",
            "a promise of the other bank on this bank's header" => "wrong_signer",
            "this bank's promise on a header of the other" => "wrong_signer",
            _ => "unknown_brand",
        }
    }
}

fn code(response: &HttpResponse) -> Option<String> {
    response.as_problem().map(|problem| problem.code)
}

fn brand(bank: usize) -> Option<std::sync::Arc<KnownBrand>> {
    let worth = |known: &std::sync::Arc<KnownBrand>| known.brand().denomination == Amount::from_micros(VALUE);
    keys::brands(bank).into_values().find(worth)
}

fn secrets(bank: usize) -> Option<TokenSecrets> {
    Some(TokenSecrets::derive(&[99; 64], brand(bank)?.key_id(), 0))
}

fn spending_key(token: &Token) -> Option<SecretKey> {
    let keys = (0..2).filter_map(secrets).map(|secrets| secrets.secret_key());
    keys.into_iter().find(|key| key.public().0 == *token.nonce())
}

/// A token for money from outside.
fn withdraw(number: usize, bank: &mut BankParty, now: Timestamp) -> Option<Token> {
    let (known, secrets) = (brand(number)?, secrets(number)?);
    let input = known.token_input(secrets.secret_key().public().0);
    let (message, unblinder) = input.blind(known.issuer_key(), secrets.salt(), secrets.r()).ok()?;
    let request = Exchange {
        bank: BankParty::key(number),
        currency: keys::currency(),
        inputs: vec![Input::Outside { amount: Amount::from_micros(VALUE), reference: [99; 16] }],
        outputs: vec![Output::Blinded { brand: Digest(*known.key_id()), message }],
        condition: None,
        seal_to: None,
    };
    let call = BankCall::Exchange(Joint::sign(request, [&keys::secret_key("operator")]).into());
    let response = bank.serve(&[call.to_http()], now)?.pop()?;
    let BankReply::Exchange(reply) = call.reply_from_http(&response).ok()? else { return None };
    input.finalize(known.issuer_key(), reply.signatures.first()?, &unblinder).ok()
}

fn exchange(bank: usize, tokens: &[Token], outputs: Vec<Output>, condition: Option<Condition>) -> Joint<Exchange> {
    let inputs = tokens.iter().copied().map(Input::token).collect();
    let request =
        Exchange { bank: BankParty::key(bank), currency: keys::currency(), inputs, outputs, condition, seal_to: None };
    let keys: Vec<SecretKey> = tokens.iter().filter_map(spending_key).collect();
    Joint::sign(request, &keys)
}

/// An authorization of this offer at this bank with these tokens.
fn authorization(bank: usize, tokens: &[Token], offer: &GoodsM, now: Timestamp) -> Joint<Exchange> {
    let amount = Amount::from_micros(VALUE * tokens.len() as u64);
    let condition = Condition {
        n: offer.n,
        merchant: offer.merchant,
        expiry: now.plus(Duration::seconds(300)),
        log: LogParty::identity(0).key,
        c: offer.c,
        q: None,
        entry: Entry::Plain,
        carrier: Carrier::Wallet,
    };
    exchange(bank, tokens, vec![Output::Account { account: offer.merchant, amount }], Some(condition))
}

fn pay(offer: &Signed<GoodsM>, header: Unverified<Header>, authorization_b: Unverified<AuthorizationB>) -> ShopCall {
    let goods_m = Unverified::from(offer);
    ShopCall::Pay(Box::new(UnverifiedPayment { goods_m, header, authorization_b, goods_q: None }))
}
