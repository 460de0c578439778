//! What a message tells whoever gets it: its name in the paper, and what it reveals of a purchase (AAT, table 1).

use naulon_exchange::{
    AuthorizationB, Exchange, Header, Input, LogDecision, LogWord, Output, State, UnverifiedDecision,
};
use naulon_purchase::GoodsM;
use naulon_statement::PublicKey;
use naulon_wire::{BankCall, BankReply, Call, CallError, ExchangeReply, LogCall, LogReply, ShopCall, ShopReply};

/// The columns of table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Who sells.
    Merchant,
    /// Who buys.
    Consumer,
    /// When.
    Date,
    /// For how much.
    Amount,
    /// What.
    Item,
}

/// What one message says.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its name, in the paper's words where it has any.
    pub words: String,
    /// What its fields reveal.
    pub facts: Vec<Fact>,
    /// Whether it belongs to a purchase: only then does table 1 speak of it.
    pub purchase: bool,
    /// The statements in it, to be searched for what nobody may learn.
    pub statements: Vec<u8>,
}

/// A call that can be told about.
pub trait Told: Call {
    /// What the call says to whom it reaches.
    fn told(&self) -> Said;

    /// What its answer says to whom it reaches.
    fn answered(&self, reply: Result<Self::Reply, CallError>) -> Said;
}

impl Said {
    fn aside(words: impl Into<String>) -> Said {
        Said { words: words.into(), ..Said::default() }
    }

    fn of_purchase(words: impl Into<String>) -> Said {
        Said { purchase: true, ..Said::aside(words) }
    }

    fn header(mut self, header: &Header) -> Said {
        let Header { bank: _, merchant: _, n: _, expiry: _, log: _, a: _, c: _, q: _, entry: _ } = header;
        self.facts.extend([Fact::Merchant, Fact::Date]);
        self
    }

    fn promise(mut self, promise: &AuthorizationB) -> Said {
        let AuthorizationB { header: _, value: _, currency: _ } = promise;
        self.facts.push(Fact::Amount);
        self
    }

    fn offer(mut self, offer: &GoodsM) -> Said {
        let GoodsM { merchant: _, price: _, contract: _, .. } = offer;
        self.facts.extend([Fact::Merchant, Fact::Amount, Fact::Item]);
        self
    }

    /// A decision names neither merchant nor amount; it comes at the time of the purchase.
    fn decision(mut self, decision: &LogDecision) -> Said {
        let LogDecision { a: _, header: _, expiry: _, q: _, time: _, outcome: _ } = decision;
        self.facts.push(Fact::Date);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Said {
        self.statements.extend_from_slice(bytes);
        self
    }
}

impl Told for BankCall {
    fn told(&self) -> Said {
        match self {
            BankCall::Describe => Said::aside("your brands?"),
            BankCall::Challenge => Said::aside("a question to sign?"),
            BankCall::OpenAccount(open) => Said::aside("open an account").bytes(open.bytes()),
            BankCall::Balance(query) => Said::aside("my balance?").bytes(query.bytes()),
            BankCall::Check(query) => Said::aside("what stands of my check?").bytes(query.bytes()),
            BankCall::Exchange(joint) => exchange(joint.claimed_body()).bytes(joint.payload()),
            BankCall::Status(_) => Said::of_purchase("the answer to that authorization again?"),
            BankCall::Settle(decision) => decided(decision, ", with its proof"),
            BankCall::Output { .. } => Said::aside("what became of this blinded message?"),
            BankCall::Token(query) => Said::aside("what became of my token?").bytes(query.bytes()),
            BankCall::IssuerDirectory(_) => Said::aside("that brand's Privacy Pass directory?"),
            BankCall::Issue(_) => Said::aside("a Privacy Pass token, and an order that pays for it"),
            BankCall::Receipt { .. } => Said::aside("is it in the day's sum?"),
            BankCall::Public(_) => Said::aside("your register?"),
        }
    }

    fn answered(&self, reply: Result<BankReply, CallError>) -> Said {
        match reply {
            Ok(BankReply::Description(_)) => Said::aside("register: brands and fees, cosigned"),
            Ok(BankReply::Challenge(_)) => Said::aside("sign this"),
            Ok(BankReply::Opened) => Said::aside("open"),
            Ok(BankReply::Balance(_)) => Said::aside("balance"),
            Ok(BankReply::Check(_)) => Said::aside("what stands of it"),
            Ok(BankReply::Exchange(reply)) => settled(&reply),
            Ok(BankReply::Output(_)) => Said::aside("what became of it"),
            Ok(BankReply::Token(_)) => Said::aside("what became of it"),
            Ok(BankReply::IssuerDirectory(_)) => Said::aside("its key"),
            Ok(BankReply::Issued(_)) => Said::aside("a blind signature"),
            Ok(BankReply::Receipt(_)) => Said::aside("receipt"),
            Ok(BankReply::Public(_)) => Said::aside("register"),
            Err(error) => refusal(&error, matches!(self, BankCall::Status(_) | BankCall::Settle(_))),
        }
    }
}

impl Told for LogCall {
    fn told(&self) -> Said {
        match self {
            LogCall::Describe => Said::aside("who are you?"),
            LogCall::Commit { header, authorization } => {
                let said =
                    Said::of_purchase(format!("authorization_m with k, header {}", step(header.claimed_body().q, 4)))
                        .header(header.claimed_body());
                said.bytes(header.bytes()).bytes(authorization.bytes())
            }
            LogCall::Abort { header } => {
                let said = Said::of_purchase("header: expired, abort it");
                said.header(header.claimed_body()).bytes(header.bytes())
            }
            // Neither merchant nor purchase can be read from it: the date alone.
            LogCall::BlindCommit { message } => {
                let said = Said::of_purchase("a message under a one-time index (P4, blind)");
                Said { facts: vec![Fact::Date], ..said }.bytes(message.bytes())
            }
            LogCall::BlindAbort { .. } => {
                Said { facts: vec![Fact::Date], ..Said::of_purchase("index: expired, was there nothing?") }
            }
            LogCall::Decision(_) => Said::of_purchase("decided?"),
            LogCall::Public(path) => Said::aside(format!("GET {path}")),
        }
    }

    fn answered(&self, reply: Result<LogReply, CallError>) -> Said {
        match reply {
            Ok(LogReply::Description(_)) => Said::aside("keys"),
            Ok(LogReply::Decision(decision)) => decided(&decision, &format!(" {}", step(asked_q(&decision), 5))),
            Ok(LogReply::Public(_)) => Said::aside("tree"),
            Err(error) => refusal(&error, true),
        }
    }
}

impl Told for ShopCall {
    fn told(&self) -> Said {
        match self {
            ShopCall::Describe => Said::aside("what do you sell?"),
            ShopCall::Offer { .. } => Said { facts: vec![Fact::Item], ..Said::of_purchase("an offer for this item?") },
            ShopCall::Goods { .. } => Said::of_purchase("encrypted goods?"),
            ShopCall::Refund(_) => Said::of_purchase("a refund into these blinded messages?"),
            ShopCall::Order(order) => {
                let said = Said::of_purchase("an order: the bank will bring the promise");
                let goods_q = order.goods_q.as_ref().map_or(&[][..], |goods_q| goods_q.bytes());
                said.offer(order.goods_m.claimed_body()).bytes(order.goods_m.bytes()).bytes(goods_q)
            }
            ShopCall::Promise { header, authorization_b } => {
                let said = Said::of_purchase("header, authorization_b (P3, by the bank)").header(header.claimed_body());
                said.promise(authorization_b.claimed_body()).bytes(header.bytes()).bytes(authorization_b.bytes())
            }
            ShopCall::Taken(_) => Said::of_purchase("the offer that I took, once more?"),
            ShopCall::Item { authorization, .. } => {
                let words = if authorization.is_some() { "that item, paid for" } else { "that item?" };
                Said { facts: vec![Fact::Item], ..Said::of_purchase(words) }
            }
            ShopCall::Pay(payment) => {
                let words = match &payment.goods_q {
                    Some(_) => "goods_q (CD2), header, authorization_b (CD4)",
                    None => "header, authorization_b (P3)",
                };
                let said = Said::of_purchase(words).header(payment.header.claimed_body());
                let said = said.offer(payment.goods_m.claimed_body()).promise(payment.authorization_b.claimed_body());
                let goods_q = payment.goods_q.as_ref().map_or(&[][..], |goods_q| goods_q.bytes());
                said.bytes(payment.goods_m.bytes())
                    .bytes(payment.header.bytes())
                    .bytes(payment.authorization_b.bytes())
                    .bytes(goods_q)
            }
        }
    }

    fn answered(&self, reply: Result<ShopReply, CallError>) -> Said {
        match reply {
            Ok(ShopReply::Description(_)) => Said::aside("catalogue"),
            Ok(ShopReply::Offer(offer)) => {
                Said::of_purchase("goods_m (P1)").offer(offer.claimed_body()).bytes(offer.bytes())
            }
            Ok(ShopReply::Goods(piece)) => Said::of_purchase(format!("{} bytes of encrypted goods", piece.bytes.len())),
            Ok(ShopReply::Decision(decision)) => decided(&decision, ", with its proof"),
            Ok(ShopReply::Delivered { decision, .. }) => decided(&decision, ", with its proof"),
            Ok(ShopReply::Refund(_)) => Said::of_purchase("an exchange that gives it back"),
            Ok(ShopReply::Ordered) => Said::of_purchase("ordered"),
            Ok(ShopReply::Pending) => Said::of_purchase("pending"),
            Err(error) => refusal(&error, true),
        }
    }
}

/// The name of a step: P2 to P5 of §3.3, which are CD3 to CD6 of two-sided delivery (§8.6).
fn step(q: Option<PublicKey>, number: u32) -> String {
    if q.is_some() { format!("(CD{})", number + 1) } else { format!("(P{number})") }
}

fn exchange(exchange: &Exchange) -> Said {
    if let Some(condition) = &exchange.condition {
        let tokens = exchange.tokens().count();
        let s = if tokens == 1 { "" } else { "s" };
        let words = format!("authorization_q by {tokens} token{s} {}", step(condition.q, 2));
        return Said { facts: vec![Fact::Merchant, Fact::Date, Fact::Amount], ..Said::of_purchase(words) };
    }
    let from_account = exchange.inputs.iter().any(|input| matches!(input, Input::Account { .. }));
    let from_outside = exchange.inputs.iter().any(|input| matches!(input, Input::Outside { .. }));
    let to_account = exchange.outputs.iter().any(|output| matches!(output, Output::Account { .. }));
    Said::aside(match (from_outside, from_account, to_account) {
        (true, _, _) => "credit an account: money came in",
        (_, true, _) => "withdraw: blinded tokens, please (fig. 1)",
        (_, _, true) => "deposit tokens",
        _ => "tokens for fresh ones (fig. 2)",
    })
}

fn settled(reply: &ExchangeReply) -> Said {
    let signatures = match reply.signatures.len() {
        0 => String::new(),
        1 => ", 1 blind signature".to_owned(),
        count => format!(", {count} blind signatures"),
    };
    match (&reply.header, &reply.authorization_b, reply.state) {
        (Some(header), Some(promise), State::Locked) => {
            let said = Said::of_purchase("locked: header, authorization_b");
            said.header(header.claimed_body())
                .promise(promise.claimed_body())
                .bytes(header.bytes())
                .bytes(promise.bytes())
        }
        (_, _, State::Committed) => Said::of_purchase(format!("spent{signatures}")),
        (_, _, State::Aborted) => Said::of_purchase("tokens unlocked"),
        _ => Said::aside(format!("done{signatures}")),
    }
}

fn decided(decision: &UnverifiedDecision, after: &str) -> Said {
    let said = match &decision.decision {
        LogWord::Open(word) => {
            let outcome = if word.claimed_body().key().is_some() { "commit with k" } else { "abort" };
            Said::of_purchase(format!("{outcome}{after}")).decision(word.claimed_body())
        }
        LogWord::Blind(word) => {
            let outcome = if word.claimed_body().message.is_some() { "a message under its index" } else { "nothing" };
            Said { facts: vec![Fact::Date], ..Said::of_purchase(format!("{outcome}{after}")) }
        }
    };
    said.bytes(decision.decision.bytes())
}

/// Q, if the log's word names it.
fn asked_q(decision: &UnverifiedDecision) -> Option<PublicKey> {
    match &decision.decision {
        LogWord::Open(word) => word.claimed_body().q,
        LogWord::Blind(_) => None,
    }
}

fn refusal(error: &CallError, purchase: bool) -> Said {
    let words = match error {
        CallError::Problem(problem) => format!("refused: {}", problem.code),
        CallError::Unreachable(..) | CallError::BadReply(_) => "an answer that cannot be read".to_owned(),
    };
    if purchase { Said::of_purchase(words) } else { Said::aside(words) }
}
