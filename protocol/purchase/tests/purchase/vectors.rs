//! The bytes of every message, against a file that no code of ours has made.

use naulon_blind::BlindedMessage;
use naulon_exchange::{
    AuthorizationB, BalanceQuery, Carrier, Condition, Entry, Exchange, Header, Input, LogDecision, LogEntry,
    OpenAccount, Outcome, Output, key_commitment,
};
use naulon_money::Amount;
use naulon_purchase::{AuthorizationM, Contract, GoodsM, GoodsQ};
use naulon_statement::{Digest, Duration, Joint, Signed, Timestamp, cbor};
use serde_json::Value;

use super::cast::*;

const N: [u8; 16] = [7; 16];
const K: [u8; 32] = [8; 32];

fn file() -> Value {
    serde_json::from_str(include_str!("../../../../vectors/statement/purchase.json")).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("a string")).expect("hexadecimal")
}

fn price() -> Amount {
    Amount::from_micros(4_000_000)
}

fn offer() -> Signed<GoodsM> {
    let contract = Contract {
        title: "A thing".to_owned(),
        description: "It is a thing.".to_owned(),
        size: 12,
        digest: Digest::of(&[PLAIN]),
    };
    let offer = GoodsM {
        contract,
        price: price(),
        currency: euros(),
        merchant: merchant().public(),
        n: N,
        goods: Digest([0x11; 32]),
        c: key_commitment(&N, &K),
        wrapped_key: [0x22; 48],
        banks: vec![bank().public()],
        logs: vec![log_key(0).public()],
        valid_until: Timestamp(80_000),
        release_margin: Duration(10_000),
        two_sided: true,
        entries: Vec::new(),
        index: None,
    };
    Signed::sign(&merchant(), offer)
}

fn authorization_q() -> Joint<Exchange> {
    let [first, second] = tokens().map(|key| key.public());
    let body = Exchange {
        bank: bank().public(),
        currency: euros(),
        inputs: [first, second].map(|q| Input::token(token(&q))).to_vec(),
        outputs: vec![
            Output::Account { account: merchant().public(), amount: price() },
            Output::Blinded { brand: Digest([5; 32]), message: BlindedMessage([6; 256]) },
        ],
        condition: Some(Condition {
            n: N,
            merchant: merchant().public(),
            expiry: EXPIRY,
            log: log_key(0).public(),
            c: key_commitment(&N, &K),
            q: Some(first),
            entry: Entry::Plain,
            carrier: Carrier::Wallet,
        }),
        seal_to: None,
    };
    Joint::sign(body, &tokens())
}

#[test]
fn statements_have_the_bytes_of_the_file() {
    let authorization_q = authorization_q();
    let a = authorization_q.id();
    let header = Header::of(&authorization_q, a).expect("a purchase");
    let promise = AuthorizationB::of(&authorization_q, &header).expect("a purchase");
    let commit = LogDecision::on(&header, Timestamp(99_999), Outcome::Commit { k: K });
    let abort = LogDecision::on(&header, EXPIRY, Outcome::Abort);
    let (account, bank_key) = (key(4), bank().public());
    let open = OpenAccount { bank: bank_key, account: account.public() };
    let query = BalanceQuery { bank: bank_key, account: account.public(), at: Timestamp(1_000) };
    let commit = Signed::sign(&log_key(0), commit);
    let entry = LogEntry::plain(&commit).bytes;
    let made = [
        offer().bytes().to_vec(),
        Signed::sign(&tokens()[0], GoodsQ::to(&offer())).bytes().to_vec(),
        Signed::sign(&bank(), header.clone()).bytes().to_vec(),
        Signed::sign(&bank(), promise).bytes().to_vec(),
        Signed::sign(&merchant(), AuthorizationM { a, k: K }).bytes().to_vec(),
        commit.bytes().to_vec(),
        Signed::sign(&log_key(0), abort).bytes().to_vec(),
        Signed::sign(&account, open).bytes().to_vec(),
        Signed::sign(&account, query).bytes().to_vec(),
    ];
    let file = file();
    let statements = file["statements"].as_array().expect("a list");
    for (made, statement) in made.iter().zip(statements) {
        assert_eq!(hex::encode(made), statement["sign1"].as_str().expect("a string"), "{}", statement["content_type"]);
    }
    assert_eq!(made.len(), statements.len());
    assert_eq!(header.digest().0.to_vec(), bytes(&file["header_digest"]));
    assert_eq!(header.c.0.to_vec(), bytes(&file["c"]));
    assert_eq!(entry.to_vec(), bytes(&file["log_entry_of_commit"]));
}

#[test]
fn exchanges_have_the_bytes_of_the_file() {
    let (file, made) = (file(), authorization_q());
    let vector = &file["authorization_q"];
    assert_eq!(hex::encode(made.payload()), vector["payload"].as_str().expect("a string"));
    assert_eq!(made.id().0.to_vec(), bytes(&vector["a"]));
    let signatures: Vec<_> = made.signatures().iter().map(|signature| hex::encode(signature.bytes())).collect();
    assert_eq!(Value::from(signatures), vector["signatures"]);
    let account = key(4).public();
    let others = Exchange {
        bank: bank().public(),
        currency: euros(),
        inputs: vec![
            Input::Outside { amount: Amount::from_micros(3_000_000), reference: [1; 16] },
            Input::Account { account, amount: Amount::from_micros(2_000_000), order: [2; 16] },
        ],
        outputs: vec![Output::Account { account, amount: Amount::from_micros(5_000_000) }],
        condition: None,
        seal_to: None,
    };
    assert_eq!(hex::encode(cbor::to_vec(&others)), file["exchange_of_other_instruments"].as_str().expect("a string"));
}
