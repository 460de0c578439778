//! What names somebody is not taken where everybody is nobody.

use std::sync::Arc;

use naulon_exchange::{Exchange, Input, Output};
use naulon_money::Amount;
use naulon_statement::{BoxPublicKey, Joint, UnverifiedJoint};
use naulon_wire::door::{Bind, Door};
use naulon_wire::serve::{Terms, serve_doors};
use naulon_wire::{Address, BankCall, BankReply, CallError, Circuit, Clients, Listener, Problem, Service};

use super::loopback::loopback_listener;
use super::samples::{self, key};

/// A bank that refuses everything by a code of its own: so it is known what reached it.
struct Reached;

impl Service<BankCall> for Reached {
    async fn call(&self, _: BankCall) -> Result<BankReply, Problem> {
        Err(Problem::new("unbalanced", "it came here"))
    }
}

/// The bank's two addresses.
async fn bank() -> Address {
    let (mut doors, mut urls) = (Vec::new(), Vec::new());
    for on in [&[Listener::Public][..], &[Listener::Account]] {
        let address = loopback_listener().await.local_addr().expect("an address");
        doors.push(Door::open(on, &Bind::Tcp(address), None).await.expect("opens"));
        urls.push(format!("http://{address}"));
    }
    tokio::spawn(serve_doors(doors, Arc::new(Reached), Terms::default(), std::future::pending()));
    Address { account: urls.pop(), ..Address::new(urls.remove(0)) }
}

async fn code(circuit: Circuit, address: &Address, call: &BankCall) -> String {
    match Clients::default().on(circuit, address).expect("an address").call(call).await {
        Err(CallError::Problem(problem)) => problem.code,
        other => panic!("{other:?}"),
    }
}

fn exchange(input: Input) -> BankCall {
    sealed(input, None)
}

fn sealed(input: Input, seal_to: Option<BoxPublicKey>) -> BankCall {
    let amount = Amount::from_micros(5);
    let outputs = vec![Output::Account { account: key(3).public(), amount }];
    let currency = "EUR".parse().expect("a currency");
    let body = Exchange { bank: key(1).public(), currency, inputs: vec![input], outputs, condition: None, seal_to };
    BankCall::Exchange(UnverifiedJoint::from(Joint::sign(body, [&key(2)])))
}

#[tokio::test]
async fn orders_of_accounts_are_taken_on_their_listener_alone() {
    let address = bank().await;
    let (nobody, somebody) = (Circuit::Anonymous(1), Circuit::Identified(key(2).public()));
    let amount = Amount::from_micros(5);
    for input in [
        Input::Account { account: key(2).public(), amount, order: [1; 16] },
        Input::Outside { amount, reference: [2; 16] },
    ] {
        let call = exchange(input.clone());
        assert_eq!(code(nobody, &address, &call).await, "wrong_listener");
        assert_eq!(code(somebody, &address, &call).await, "unbalanced");
        // Whoever brings it is not who is named, if the reply is for somebody else: a refund.
        let refund = sealed(input, Some(BoxPublicKey([5; 32])));
        assert_eq!(code(nobody, &address, &refund).await, "unbalanced");
    }
    // In the clothes of a Privacy Pass request it is the same order.
    let issues = samples::bank().into_iter().map(|(call, _)| call).filter(|call| matches!(call, BankCall::Issue(_)));
    for call in issues {
        assert_eq!(code(nobody, &address, &call).await, "wrong_listener");
        assert_eq!(code(somebody, &address, &call).await, "unbalanced");
    }
    // Tokens alone name nobody: they are taken on both.
    let tokens = BankCall::Exchange(UnverifiedJoint::from(samples::exchange()));
    assert_eq!(code(nobody, &address, &tokens).await, "unbalanced");
    assert_eq!(code(somebody, &address, &tokens).await, "unbalanced");
    // An account is opened and asked for on the account's listener, and is unknown on the other.
    for (call, _) in samples::bank() {
        if matches!(call, BankCall::OpenAccount(_) | BankCall::Balance(_)) {
            assert_eq!(code(nobody, &address, &call).await, "not_found");
            assert_eq!(code(somebody, &address, &call).await, "unbalanced");
        }
    }
}
