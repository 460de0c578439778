//! The `Payment` scheme: as mppx writes it, and a table of credentials that do not fit.

use naulon_statement::{Digest, PublicKey, Timestamp, base64url_decode, base64url_encode};
use naulon_wire::payment::{CHALLENGE_GRID, Challenge, Charge, MAX_CREDENTIAL_LEN, admit, payload, receipt};
use serde_json::{Value, json};

use super::samples;

const SECRET: &[u8; 32] = b"thirty-two bytes of test secret.";
const NOW: Timestamp = Timestamp(1_800_000_000_123);

/// What the sample offer costs.
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

fn challenge() -> Challenge {
    Challenge::new(SECRET, &charge(), "A thing", NOW)
}

/// mppx writes the same challenges, and gives them the same ids.
#[test]
fn challenges_are_those_of_mppx() {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/payment/challenges.json")).expect("JSON");
    let headers: Vec<&str> = vectors["vectors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|vector| vector["header"].as_str().expect("a header"))
        .collect();
    let [ours, others] = headers[..] else { panic!("two vectors") };
    let key = |byte| PublicKey([byte; 32]);
    let charge = Charge {
        amount: naulon_money::Amount::from_micros(3_700_000),
        currency: "EUR".parse().expect("a currency"),
        merchant: key(2),
        banks: vec![key(1), key(4)],
        logs: vec![key(3)],
        item: "a \"song\" ü.flac".to_owned(),
        goods: Digest([9; 32]),
    };
    assert_eq!(vectors["secret"].as_bytes_of_text(), SECRET);
    let made = Challenge::new(SECRET, &charge, "A song", NOW);
    assert_eq!(made.to_header(), ours);
    assert_eq!(Challenge::parse(ours).expect("reads").charge(), Ok(charge));
    let read = Challenge::parse(others).expect("reads");
    assert_eq!((read.method.as_str(), read.digest.as_deref()), ("other", Some("sha-256=AAAA")));
    assert_eq!(read.description.as_deref(), Some("He said \"no\" \\ — twice"));
    assert!(read.charge().is_err(), "not ours to pay");
}

trait Text {
    fn as_bytes_of_text(&self) -> &[u8];
}

impl Text for Value {
    fn as_bytes_of_text(&self) -> &[u8] {
        self.as_str().expect("text").as_bytes()
    }
}

/// Everybody who asks within an hour gets the same challenge, so its id is no cookie; and it is good for an hour at least.
#[test]
fn a_challenge_tells_nobody_apart() {
    let hour = Timestamp(NOW.0 - NOW.0 % CHALLENGE_GRID.0);
    let last = Timestamp(hour.0 + CHALLENGE_GRID.0 - 1);
    assert_eq!(Challenge::new(SECRET, &charge(), "A thing", hour), Challenge::new(SECRET, &charge(), "A thing", last));
    let credential = challenge().credential(&samples::payment(true));
    for after in [0, CHALLENGE_GRID.0] {
        assert!(admit(SECRET, &charge(), Some(&credential), Timestamp(NOW.0 + after)).is_ok());
    }
    let late = admit(SECRET, &charge(), Some(&credential), hour.plus(CHALLENGE_GRID).plus(CHALLENGE_GRID));
    assert_eq!(late.err().map(|problem| problem.code), Some("challenge_expired".to_owned()));
}

/// Whatever is wrong with a credential has a name.
#[test]
fn every_bad_credential_has_its_code() {
    let paid = samples::payment(false);
    let good = challenge().credential(&paid);
    assert!(admit(SECRET, &charge(), Some(&good), NOW).is_ok());
    let with = |challenge: Challenge| challenge.credential(&paid);
    let rewritten = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({ "challenge": challenge(), "payload": payload(&paid) });
        change(&mut body);
        format!("Payment {}", base64url_encode(body.to_string().as_bytes()))
    };
    assert!(admit(SECRET, &charge(), Some(&rewritten(&|_| {})), NOW).is_ok(), "unaltered it is taken");
    let other = Charge { item: "another".to_owned(), ..charge() };
    let dearer = Charge { amount: naulon_money::Amount::from_micros(9), ..charge() };
    let of_other_goods = Charge { goods: Digest([1; 32]), ..charge() };
    let cases = [
        ("no credential", "payment_required", None),
        ("another scheme", "payment_required", Some("Basic YTpi".to_owned())),
        ("an empty header", "payment_required", Some(String::new())),
        ("no base64url", "bad_credential", Some("Payment a+b/".to_owned())),
        ("no JSON", "bad_credential", Some("Payment AAAA".to_owned())),
        ("no challenge", "bad_credential", Some(rewritten(&|body| body["challenge"] = json!({})))),
        ("no payload", "bad_credential", Some(rewritten(&|body| body["payload"] = json!({})))),
        (
            "an unknown field in the payload",
            "bad_credential",
            Some(rewritten(&|body| body["payload"]["x"] = json!(""))),
        ),
        (
            "a payload that is no statement",
            "malformed",
            Some(rewritten(&|body| body["payload"]["header"] = json!("AA"))),
        ),
        ("too long", "too_long", Some(format!("Payment {}", "A".repeat(MAX_CREDENTIAL_LEN)))),
        ("another method", "unknown_method", Some(with(Challenge { method: "tempo".to_owned(), ..challenge() }))),
        ("another intent", "unknown_method", Some(with(Challenge { intent: "session".to_owned(), ..challenge() }))),
        ("a wrong id", "bad_challenge", Some(with(Challenge { id: base64url_encode(&[1; 32]), ..challenge() }))),
        ("an id that is none", "bad_challenge", Some(with(Challenge { id: "AAAA".to_owned(), ..challenge() }))),
        ("an altered request", "bad_challenge", {
            Some(with(Challenge { request: dearer.to_request(), ..challenge() }))
        }),
        ("an altered expiry", "bad_challenge", {
            Some(with(Challenge { expires: Some("2099-01-01T00:00:00.000Z".to_owned()), ..challenge() }))
        }),
        ("another realm", "bad_challenge", Some(with(Challenge { realm: "shop.example".to_owned(), ..challenge() }))),
        (
            "an opaque value put in",
            "bad_challenge",
            Some(with(Challenge { opaque: Some("e30".into()), ..challenge() })),
        ),
        ("another shop's challenge", "bad_challenge", Some(with(Challenge::new(&[7; 32], &charge(), "", NOW)))),
        ("another item's challenge", "other_item", Some(with(Challenge::new(SECRET, &other, "", NOW)))),
        ("a challenge of another price", "other_item", Some(with(Challenge::new(SECRET, &dearer, "", NOW)))),
        ("a challenge that has expired", "challenge_expired", {
            Some(with(Challenge::new(SECRET, &charge(), "", Timestamp(NOW.0 - 3 * CHALLENGE_GRID.0))))
        }),
        ("a challenge of the future", "challenge_expired", {
            Some(with(Challenge::new(SECRET, &charge(), "", Timestamp(NOW.0 + 3 * CHALLENGE_GRID.0))))
        }),
    ];
    for (name, code, header) in cases {
        let problem = admit(SECRET, &charge(), header.as_deref(), NOW).map(|_| ()).expect_err(name);
        assert_eq!(problem.code, code, "{name}: {problem}");
    }
    // The payment itself may be for other goods than the route's.
    let header = with(Challenge::new(SECRET, &of_other_goods, "", NOW));
    let problem = admit(SECRET, &of_other_goods, Some(&header), NOW).map(|_| ()).expect_err("other goods");
    assert_eq!(problem.code, "other_item");
}

#[test]
fn a_receipt_says_when_and_for_what() {
    let bytes = base64url_decode(&receipt(&Digest([5; 32]), NOW)).expect("base64url");
    let said: Value = serde_json::from_slice(&bytes).expect("JSON");
    let expected = json!({
        "method": "naulon", "reference": Digest([5; 32]).to_string(), "status": "success",
        "timestamp": "2027-01-15T08:00:00.123Z",
    });
    assert_eq!(said, expected);
}
