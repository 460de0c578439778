//! Signed statements in words.

use naulon_blind::Brand;
use naulon_exchange::register::{DaySummary, FeeTable, ItemPromise, Side};
use naulon_exchange::{
    AuthorizationB, BalanceQuery, BlindDecision, BlindMessage, Exchange, Header, Input, LogDecision, OpenAccount,
    Outcome, Output,
};
use naulon_purchase::{AuthorizationM, GoodsM, GoodsQ, RefundRequest};
use naulon_statement::{Detached, Digest, Statement, Unverified, UnverifiedJoint};

use super::Found;
use crate::clock::utc;

/// A statement that can say in words what it is.
trait Words: Statement {
    fn words(&self) -> Found;
}

/// The COSE_Sign1 of any statement that we know.
pub fn recognise(bytes: &[u8]) -> Option<Found> {
    let readers = [
        read::<GoodsM>,
        read::<GoodsQ>,
        read::<RefundRequest>,
        read::<Header>,
        read::<AuthorizationB>,
        read::<AuthorizationM>,
        read::<LogDecision>,
        read::<BlindMessage>,
        read::<BlindDecision>,
        read::<Brand>,
        read::<FeeTable>,
        read::<DaySummary>,
        read::<ItemPromise>,
        read::<OpenAccount>,
        read::<BalanceQuery>,
        detached,
    ];
    readers.iter().find_map(|read| read(bytes))
}

/// An exchange with its detached signatures.
pub fn joint(payload: &[u8], signatures: &[Vec<u8>]) -> Option<Found> {
    let joint = UnverifiedJoint::<Exchange>::parse(payload, signatures).ok()?;
    let found = joint.claimed_body().words().with("content type", Exchange::CONTENT_TYPE).with("id", joint.id());
    let signatures = match joint.verify() {
        Ok(joint) => format!("hold: {}", joint.signatures().len()),
        Err(error) => format!("do not hold: {error}"),
    };
    Some(found.with("signatures", signatures))
}

/// An exchange without signatures.
pub fn exchange(exchange: &Exchange) -> Found {
    exchange.words()
}

fn read<T: Words>(bytes: &[u8]) -> Option<Found> {
    let statement = Unverified::<T>::parse(bytes).ok()?;
    let signer = statement.claimed_signer();
    let found = statement.claimed_body().words().with("content type", T::CONTENT_TYPE).with("signed by", signer);
    let signature = match statement.verify(&signer) {
        Ok(_) => "holds".to_owned(),
        Err(error) => format!("does not hold: {error}"),
    };
    Some(found.with("signature", signature))
}

fn detached(bytes: &[u8]) -> Option<Found> {
    let signature = Detached::parse(Exchange::CONTENT_TYPE, bytes).ok()?;
    Some(Found::new("a signature over an exchange, without the exchange").with("by", signature.signer()))
}

impl Words for GoodsM {
    fn words(&self) -> Found {
        Found::new("goods_m: a merchant's offer (P1)")
            .with("title", &self.contract.title)
            .with("description", &self.contract.description)
            .with("size", format!("{} bytes", self.contract.size))
            .with("plain goods", self.contract.digest)
            .with("encrypted goods", self.goods)
            .with("price", format!("{} {}", self.price, self.currency))
            .with("merchant M", self.merchant)
            .with("number n", hex::encode(self.n))
            .with("commitment c", self.c)
            .with("banks", list(&self.banks))
            .with("logs", list(&self.logs))
            .with("valid until", utc(self.valid_until))
            .with("log entries", if self.entries.is_empty() { "plain".to_owned() } else { list(&self.entries) })
            .with("delivery", if self.two_sided { "two-sided" } else { "one-sided, or two-sided if the buyer wants" })
    }
}

impl Words for GoodsQ {
    fn words(&self) -> Found {
        Found::new("goods_q: the buyer's signature over an offer (CD2)").with("offer", self.goods_m)
    }
}

impl Words for RefundRequest {
    fn words(&self) -> Found {
        Found::new("refund request: a buyer asks for a refund into blinded messages")
            .with("sale", self.sale)
            .with("number", self.number)
            .with("outputs", self.outputs.len())
    }
}

impl Words for Header {
    fn words(&self) -> Found {
        Found::new("header: the part of authorization_b that the log sees (P3)")
            .with("bank", self.bank)
            .with("merchant M", self.merchant)
            .with("number n", hex::encode(self.n))
            .with("expiry", utc(self.expiry))
            .with("log L", self.log)
            .with("authorization a", self.a)
            .with("commitment c", self.c)
            .with("log entry", self.entry.mode())
            .with("delivery", self.q.map_or("one-sided".to_owned(), |q| format!("two-sided, Q {q}")))
    }
}

impl Words for AuthorizationB {
    fn words(&self) -> Found {
        Found::new("authorization_b: a bank's promise to a merchant (P3)")
            .with("header", self.header)
            .with("value", format!("{} {}", self.value, self.currency))
    }
}

impl Words for AuthorizationM {
    fn words(&self) -> Found {
        // k itself is a secret until the log has committed, so it is not printed.
        Found::new("authorization_m: a merchant's key for the log (P4)").with("authorization a", self.a)
    }
}

impl Words for BlindMessage {
    fn words(&self) -> Found {
        Found::new("a merchant's message for a blind log (P4): opaque without the header")
            .with("log L", self.log)
            .with("expiry", utc(self.expiry))
    }
}

impl Words for BlindDecision {
    fn words(&self) -> Found {
        let found = match &self.message {
            Some(message) => Found::new("what came under an index in time: a blind log's word (P5)")
                .with("message", Digest::of(&[message.bytes()]))
                .with("note", "commit or abort: whoever has the header reads which"),
            None => Found::new("abort: nothing came under an index in time (P5, blind)"),
        };
        found.with("index", self.index).with("decided", utc(self.time)).with("expiry", utc(self.expiry))
    }
}

impl Words for LogDecision {
    fn words(&self) -> Found {
        let (kind, outcome) = match &self.outcome {
            Outcome::Commit { k } => ("commit: the log's decision (P5)", format!("commit, key k {}", hex::encode(k))),
            Outcome::Abort => ("abort: the log's decision (P5)", "abort".to_owned()),
        };
        Found::new(kind)
            .with("outcome", outcome)
            .with("authorization a", self.a)
            .with("header", self.header)
            .with("decided", utc(self.time))
            .with("expiry", utc(self.expiry))
            .with("delivery", self.q.map_or("one-sided".to_owned(), |q| format!("two-sided, Q {q}")))
    }
}

impl Words for Brand {
    fn words(&self) -> Found {
        Found::new("a brand: what tokens under one key are")
            .with("bank", self.bank)
            .with("worth", format!("{} {}", self.denomination, self.currency))
            .with("issued from", utc(self.issue_from))
            .with("issued until", utc(self.withdraw_until))
            .with("spent until", utc(self.spend_until))
            .with("redeemed until", utc(self.redeem_until))
            .with("token key id", naulon_statement::Digest(self.key_id()))
            .with("sound", self.check().map_or_else(|error| format!("no: {error}"), |()| "yes".to_owned()))
    }
}

impl Words for FeeTable {
    fn words(&self) -> Found {
        let amounts = [("withdraw", self.withdraw), ("exchange", self.exchange), ("deposit", self.deposit)];
        let found = Found::new("fees: what a bank charges").with("bank", self.bank).with("from", utc(self.from));
        let found = amounts.into_iter().fold(found, |found, (what, fee)| found.with(what, fee));
        found.with("purchase", self.purchase).with("currency", &self.currency)
    }
}

impl Words for DaySummary {
    fn words(&self) -> Found {
        let found = Found::new("day: what a bank issued and redeemed of each brand").with("bank", self.bank);
        let found = found.with("day", utc(self.day.start())).with("brands", self.brands.len());
        self.brands.iter().filter(|row| row.issued + row.redeemed > 0).fold(found, |found, row| {
            let said = format!("{} issued, {} redeemed", row.issued, row.redeemed);
            found.with("brand", format!("{}: {said}", row.brand))
        })
    }
}

impl Words for ItemPromise {
    fn words(&self) -> Found {
        let side = match self.side {
            Side::Issued => "issued",
            Side::Redeemed => "redeemed",
        };
        let found = Found::new("promise that an item will stand in a day's sum").with("bank", self.bank);
        found.with("brand", self.brand).with("day", utc(self.day.start())).with("side", side).with("item", self.item)
    }
}

impl Words for OpenAccount {
    fn words(&self) -> Found {
        Found::new("a request to open an account").with("bank", self.bank).with("account", self.account)
    }
}

impl Words for BalanceQuery {
    fn words(&self) -> Found {
        Found::new("a question for a balance")
            .with("bank", self.bank)
            .with("account", self.account)
            .with("asked", utc(self.at))
    }
}

impl Words for Exchange {
    fn words(&self) -> Found {
        let kind = match &self.condition {
            Some(_) => "authorization_q: a purchase authorized by its tokens (P2)",
            None => "an exchange: instruments given up for instruments wanted",
        };
        let inputs: Vec<String> = self.inputs.iter().map(|input| input_words(input, self)).collect();
        let outputs: Vec<String> = self.outputs.iter().map(|output| output_words(output, self)).collect();
        let found = Found::new(kind)
            .with("bank", self.bank)
            .with("gives up", inputs.join(", "))
            .with("wants", outputs.join(", "));
        match &self.condition {
            None => found,
            Some(condition) => found
                .with("merchant M", condition.merchant)
                .with("number n", hex::encode(condition.n))
                .with("expiry", utc(condition.expiry))
                .with("log L", condition.log)
                .with("commitment c", condition.c)
                .with("delivery", condition.q.map_or("one-sided".to_owned(), |q| format!("two-sided, Q {q}"))),
        }
    }
}

fn input_words(input: &Input, exchange: &Exchange) -> String {
    match input {
        Input::Outside { amount, .. } => format!("{amount} {} from outside", exchange.currency),
        Input::Account { account, amount, .. } => format!("{amount} {} of account {account}", exchange.currency),
        Input::Token { token, key, part } => {
            let brand = naulon_statement::Digest(*token.key_id());
            let key = key.map_or(String::new(), |key| format!(" with the reusable key {}", key.q));
            match part {
                Some(part) => format!("{part} {} of a token of brand {brand}{key}", exchange.currency),
                None => format!("a token of brand {brand}{key}"),
            }
        }
        Input::Chain { check, from, to, .. } => {
            format!("ticks {} to {} of check {}", from.index + 1, to.index, check.commitment())
        }
        Input::Remainder { commitment, amount, early, .. } => {
            let early = if early.is_some() { ", by its payee's word" } else { "" };
            format!("{amount} {} left of check {commitment}{early}", exchange.currency)
        }
        Input::Purse { check, .. } => format!("a purse's signature on check {}", check.commitment()),
    }
}

fn output_words(output: &Output, exchange: &Exchange) -> String {
    match output {
        Output::Account { account, amount } => format!("{amount} {} to account {account}", exchange.currency),
        Output::Blinded { brand, .. } => format!("a token of brand {brand}"),
        Output::Load { brand, amount, .. } => {
            format!("{amount} {} loaded for purse checks of brand {brand}", exchange.currency)
        }
        Output::Chain { commitment, maximum, expiry, .. } => {
            format!("{maximum} {} set aside for check {commitment} until {}", exchange.currency, utc(*expiry))
        }
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
