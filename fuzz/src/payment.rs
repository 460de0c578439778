//! Headers that pay: challenges, credentials and orders, as lines of text.

use naulon_blind::{BlindedMessage, TokenRequest};
use naulon_statement::{Digest, Timestamp};
use naulon_wire::payment::{Challenge, Charge, admit};
use naulon_wire::{BankCall, Call, HttpRequest, Method, TOKEN_REQUEST};

use crate::samples;

/// The till's secret.
const SECRET: &[u8; 32] = &[5; 32];
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// What is read is written again as something that is read in the same way; what is not ours pays for nothing.
pub fn headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(challenge) = Challenge::parse(text) {
        assert_eq!(Challenge::parse(&challenge.to_header()).as_ref(), Ok(&challenge));
        if let Ok(charge) = challenge.charge() {
            assert_eq!(Challenge { request: charge.to_request(), ..challenge }.charge(), Ok(charge));
        }
    }
    if let Ok(payment) = admit(SECRET, &charge(), Some(text), NOW) {
        let again = challenge().credential(&payment);
        assert!(admit(SECRET, &charge(), Some(&again), NOW).is_ok());
    }
    if let Ok(call) = BankCall::from_http(&ordering(text)) {
        assert!(BankCall::from_http(&call.to_http()).is_ok());
    }
}

/// Headers that are taken.
pub fn seeds() -> [(&'static str, String); 3] {
    let order = samples::bank().into_iter().find_map(|(call, _)| match call {
        BankCall::Issue(order) => Some(order.authorization()),
        _ => None,
    });
    [
        ("challenge", challenge().to_header()),
        ("credential", challenge().credential(&samples::payment(true))),
        ("order", order.expect("a sample of an order")),
    ]
}

fn challenge() -> Challenge {
    Challenge::new(SECRET, &charge(), "A \"thing\"", NOW)
}

fn charge() -> Charge {
    let offer = samples::goods_m();
    Charge {
        amount: offer.price,
        currency: offer.currency.clone(),
        merchant: offer.merchant,
        banks: offer.banks.clone(),
        logs: offer.logs.clone(),
        item: "thing".to_owned(),
        goods: offer.goods,
    }
}

/// A request for the token of the samples' order, with this header.
fn ordering(authorization: &str) -> HttpRequest {
    let request = TokenRequest { truncated_key_id: 3, blinded: BlindedMessage([4; 256]) };
    HttpRequest {
        method: Method::Post,
        body: request.to_bytes().to_vec(),
        content_type: Some(TOKEN_REQUEST.to_owned()),
        authorization: Some(authorization.to_owned()),
        ..HttpRequest::get(format!("/v1/brands/{}/token-request", Digest([3; 32])))
    }
}
