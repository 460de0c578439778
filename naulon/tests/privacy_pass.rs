//! A stock Privacy Pass client is issued tokens by a running bank, and a stock verifier takes what a wallet withdrew.

mod process;

use std::io::Write;
use std::process::Command;

use naulon_blind::{KnownBrand, Token};
use naulon_exchange::{Exchange, Input, Output as Wanted, State};
use naulon_statement::{Joint, PublicKey, SecretKey, UnverifiedJoint, base64url_decode, base64url_encode};
use naulon_wire::{BankCall, BankDescription, BankReply, Circuit, Clients};
use process::npm::{Npm, said};
use process::{House, PASSPHRASE, Server};

#[test]
fn a_stock_client_is_issued_tokens_and_a_stock_verifier_takes_ours() {
    let npm = Npm::installed();
    let house = House::furnished();
    std::fs::write(house.path("note.txt"), b"The fare is paid.").expect("writes");
    house.done(&["shop", "add", "note.txt", "--price", "1"]);
    let servers = house.open();
    let account = house.done(&["wallet", "open-account"])["account"].as_str().expect("a key").to_owned();
    house.done(&["bank", "credit", &account, "20"]);

    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let bank = Bank::at(&servers[1], &runtime);
    let brand = bank.brand_of("2");
    let brand_url = format!("{}/v1/brands/{}", bank.url, base64url_encode(brand.key_id()));
    let token_key = base64url_encode(brand.brand().key.as_bytes());
    let challenge = base64url_encode(&brand.brand().challenge().to_bytes());

    let wallet = house.path("wallet");
    let args = [env!("CARGO_BIN_EXE_naulon"), wallet.to_str().expect("text"), &brand_url, &challenge, &token_key];
    let issued = said(fed(npm.script("issue.mjs", &args)));
    assert!(
        issued["unpaid"].as_str().is_some_and(|why| why.contains("402") && why.contains("order_missing")),
        "{issued}"
    );
    // Two tokens of 2.00 were paid for, each once.
    assert_eq!(house.done(&["wallet", "balance"])["account"], "16.00");

    // What it was issued are tokens of the brand; the one whose nonce is Q can be spent by q.
    let tokens = ["stock", "token"].map(|name| parse(issued[name].as_str().expect("a token")));
    assert!(tokens.iter().all(|token| brand.verify(token).is_ok()));
    let seed = base64url_decode(issued["seed"].as_str().expect("a seed")).expect("base64url");
    let q = SecretKey::from_seed(&seed.try_into().expect("32 bytes"));
    assert_eq!(q.public(), PublicKey(*tokens[1].nonce()));
    bank.deposit(&tokens[1], &q, account.parse().expect("a key"), &brand, &runtime);
    assert_eq!(house.done(&["wallet", "balance"])["account"], "18.00");

    // A stock verifier takes a token that the wallet withdrew and spent, and no other bytes.
    house.done(&["wallet", "withdraw", "5"]);
    let bought = house.done(&["wallet", "buy", "note.txt"]);
    let operation = bought["operation"].to_string();
    house.done(&["wallet", "evidence", &operation, "--out", "sale.evidence.json"]);
    let spent = spent_in(&std::fs::read_to_string(house.path("sale.evidence.json")).expect("reads"));
    let own = bank.brand_with(spent.key_id());
    let own_key = base64url_encode(own.brand().key.as_bytes());
    let verified = |token: &Token, key: &str| {
        said(npm.script("verify.mjs", &[&base64url_encode(&token.to_bytes()), key]).output())
    };
    for token in [&spent, &tokens[0], &tokens[1]] {
        let key = if token.key_id() == spent.key_id() { &own_key } else { &token_key };
        let found = verified(token, key);
        assert_eq!((found["holds"].as_bool(), found["changed"].as_bool()), (Some(true), Some(false)), "{found}");
    }

    let books = house.done(&["audit"]);
    assert_eq!((books["agree"].as_bool(), books["came_in"].as_str()), (Some(true), Some("20.00")), "{books}");
    assert_eq!(servers.map(Server::stop), [Some(0); 3]);
}

/// A running bank.
struct Bank {
    url: String,
    description: BankDescription,
}

impl Bank {
    fn at(server: &Server, runtime: &tokio::runtime::Runtime) -> Self {
        // Orders on accounts are taken where accounts are named.
        let identity = server.ready["identity"].as_str().expect("an identity");
        let account =
            identity.split([';', '#']).find_map(|part| part.strip_prefix("account=")).expect("an account listener");
        let url = account.to_owned();
        let client = Clients::default().on(Circuit::Anonymous(1), &url).expect("loopback");
        match runtime.block_on(client.call(&BankCall::Describe)).expect("describes") {
            BankReply::Description(description) => Bank { url, description },
            other => unreachable!("{other:?}"),
        }
    }

    fn brands(&self) -> impl Iterator<Item = KnownBrand> {
        let bank = self.description.bank;
        let known = move |statement: &naulon_statement::Unverified<naulon_blind::Brand>| {
            KnownBrand::new(statement.clone().verify(&bank).expect("the bank's").into_body()).expect("a brand")
        };
        self.description.register.brands.iter().map(known)
    }

    /// The brand of this value that is issued now.
    fn brand_of(&self, value: &str) -> KnownBrand {
        let value = value.parse().expect("an amount");
        let of_value = self.brands().filter(|known| known.brand().denomination == value);
        of_value.min_by_key(|known| known.brand().issue_from).expect("a brand of that value")
    }

    fn brand_with(&self, key_id: &[u8; 32]) -> KnownBrand {
        self.brands().find(|known| known.key_id() == key_id).expect("a brand of the bank")
    }

    /// Gives a token up for money in an account.
    fn deposit(
        &self,
        token: &Token,
        q: &SecretKey,
        account: PublicKey,
        brand: &KnownBrand,
        runtime: &tokio::runtime::Runtime,
    ) {
        let exchange = Exchange {
            bank: self.description.bank,
            currency: self.description.currency.clone(),
            inputs: vec![Input::Token { token: *token, key: None, part: None }],
            outputs: vec![Wanted::Account { account, amount: brand.brand().denomination }],
            condition: None,
            seal_to: None,
        };
        let call = BankCall::Exchange(UnverifiedJoint::from(Joint::sign(exchange, [q])));
        let client = Clients::default().on(Circuit::Identified(account), &self.url).expect("loopback");
        match runtime.block_on(client.call(&call)).expect("taken") {
            BankReply::Exchange(reply) => assert_eq!(reply.state, State::Done),
            other => unreachable!("{other:?}"),
        }
    }
}

fn parse(text: &str) -> Token {
    Token::parse(&base64url_decode(text).expect("base64url")).expect("a token")
}

/// The first token that the purchase of an evidence file was paid with.
fn spent_in(evidence: &str) -> Token {
    let evidence: serde_json::Value = serde_json::from_str(evidence).expect("JSON");
    let payload = evidence["authorization_q"]["payload"].as_str().expect("authorization_q");
    let payload = base64url_decode(payload).expect("base64url");
    let exchange = UnverifiedJoint::<Exchange>::parse(&payload, &[] as &[Vec<u8>]).expect("an exchange");
    *exchange.claimed_body().tokens().next().expect("a token")
}

/// Runs a script with the passphrase on its standard input.
fn fed(mut script: Command) -> std::io::Result<std::process::Output> {
    let mut child = script.spawn()?;
    child.stdin.take().expect("standard input").write_all(PASSPHRASE.as_bytes())?;
    child.wait_with_output()
}
