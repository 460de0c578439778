//! The `Payment` scheme of HTTP 402 (draft-httpauth-payment), method `naulon`: what a shop wants for an item, and how a
//! client shows that it pays (docs/spec/payment-scheme.md).
//!
//! Everything is pure: the shop keeps nothing about a challenge, because its id is an HMAC over all that binds. The same
//! item at the same time has the same challenge for everybody, so an id is no cookie.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use naulon_money::{Amount, Currency};
use naulon_purchase::UnverifiedPayment;
use naulon_statement::{Digest, Duration, PublicKey, Timestamp, base64url_decode, base64url_encode};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::http::json;
use crate::problem::Problem;
use crate::shop::PaymentBody;
use crate::text::{amount, as_text, as_texts};

/// The name of the method.
pub const METHOD: &str = "naulon";
/// The intent: one payment for one thing.
pub const INTENT: &str = "charge";
/// The longest `request` of a challenge.
pub const MAX_REQUEST_LEN: usize = 16 * 1024;
/// The longest challenge that is read.
pub const MAX_CHALLENGE_LEN: usize = 32 * 1024;
/// The longest credential that is read.
pub const MAX_CREDENTIAL_LEN: usize = 64 * 1024;
/// Challenges expire on the full hour, so that all of an hour are alike: each is good for one to two hours.
pub const CHALLENGE_GRID: Duration = Duration::seconds(3_600);

const SCHEME: &str = "Payment";
/// How many decimals the amounts have: micro-units.
const DECIMALS: u8 = 6;

/// What must be paid, to whom, and for what: the `request` of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount: Amount,
    /// In which currency.
    pub currency: Currency,
    /// M: the shop's key.
    pub merchant: PublicKey,
    /// The banks whose promises it accepts.
    pub banks: Vec<PublicKey>,
    /// The logs that it trusts.
    pub logs: Vec<PublicKey>,
    /// The item: of this an offer is asked for.
    pub item: String,
    /// The digest of the encrypted goods.
    pub goods: Digest,
}

/// The canonical form of RFC 8785: names in order, no spaces.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeBody {
    #[serde(with = "amount")]
    amount: Amount,
    #[serde(with = "as_text")]
    currency: Currency,
    #[serde(rename = "methodDetails")]
    details: DetailsBody,
    #[serde(with = "as_text")]
    recipient: PublicKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetailsBody {
    #[serde(with = "as_texts")]
    banks: Vec<PublicKey>,
    decimals: u8,
    #[serde(with = "as_text")]
    goods: Digest,
    item: String,
    #[serde(with = "as_texts")]
    logs: Vec<PublicKey>,
    offers: String,
}

/// A challenge of the `Payment` scheme, of any method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Binds everything below but the description.
    pub id: String,
    /// Who asks.
    pub realm: String,
    /// How it can be paid.
    pub method: String,
    /// What kind of payment it is.
    pub intent: String,
    /// What must be paid: base64url of JSON, as it was sent.
    pub request: String,
    /// Until when (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The header that carries the credential, if it is not `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<String>,
}

/// Why a text is not a challenge that can be paid here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Longer than allowed.
    #[error("the challenge is too long")]
    TooLong,
    /// Not the `Payment` scheme, or not in its form.
    #[error("not a challenge of the Payment scheme: {0}")]
    Malformed(&'static str),
    /// Another method or intent.
    #[error("it wants to be paid by {0}, and that cannot be done here")]
    OtherMethod(String),
}

#[derive(Serialize, Deserialize)]
struct CredentialBody {
    challenge: Challenge,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<serde_json::Value>,
    payload: PaymentBody,
}

/// As a [`CredentialBody`], but the payload may be any method's.
#[derive(Deserialize)]
struct AnyCredential {
    challenge: Challenge,
    payload: serde_json::Value,
}

impl Charge {
    /// As the `request` of a challenge.
    pub fn to_request(&self) -> String {
        let details = DetailsBody {
            banks: self.banks.clone(),
            decimals: DECIMALS,
            goods: self.goods,
            item: self.item.clone(),
            logs: self.logs.clone(),
            offers: "/v1/offers".to_owned(),
        };
        let Charge { amount, merchant: recipient, .. } = *self;
        base64url_encode(&json(&ChargeBody { amount, currency: self.currency.clone(), details, recipient }))
    }

    fn read(request: &str) -> Result<Self, ChallengeError> {
        let malformed = ChallengeError::Malformed("the request says not what method naulon needs");
        let bytes = base64url_decode(request).map_err(|_| malformed.clone())?;
        let ChargeBody { amount, currency, details, recipient } =
            serde_json::from_slice(&bytes).map_err(|_| malformed.clone())?;
        let DetailsBody { banks, decimals, goods, item, logs, .. } = details;
        if decimals != DECIMALS {
            return Err(malformed);
        }
        Ok(Charge { amount, currency, merchant: recipient, banks, logs, item, goods })
    }
}

impl Challenge {
    /// The challenge for this, at this time. Everybody who asks within the hour gets the same.
    pub fn new(secret: &[u8; 32], charge: &Charge, description: &str, now: Timestamp) -> Self {
        let [_, expires] = running(now);
        let mut challenge = Challenge {
            id: String::new(),
            realm: charge.merchant.to_string(),
            method: METHOD.to_owned(),
            intent: INTENT.to_owned(),
            request: charge.to_request(),
            expires: Some(expires),
            // A header is ASCII: other letters are left to the catalogue.
            description: Some(description.to_owned()).filter(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b))),
            digest: None,
            header: None,
            opaque: None,
        };
        challenge.id = base64url_encode(&challenge.mac(secret).finalize().into_bytes());
        challenge
    }

    /// What must be paid, if it is by method `naulon`.
    pub fn charge(&self) -> Result<Charge, ChallengeError> {
        if (self.method.as_str(), self.intent.as_str()) != (METHOD, INTENT) {
            return Err(ChallengeError::OtherMethod(format!("{}/{}", self.method, self.intent)));
        }
        Charge::read(&self.request)
    }

    /// As the value of `WWW-Authenticate`.
    pub fn to_header(&self) -> String {
        let optional = [
            ("description", &self.description),
            ("digest", &self.digest),
            ("expires", &self.expires),
            ("header", &self.header),
            ("opaque", &self.opaque),
        ];
        let fixed = [
            ("id", &self.id),
            ("realm", &self.realm),
            ("method", &self.method),
            ("intent", &self.intent),
            ("request", &self.request),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let quoted =
            |(name, value): (&str, &String)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
        let parameters: Vec<String> = fixed.into_iter().chain(given).map(quoted).collect();
        format!("{SCHEME} {}", parameters.join(", "))
    }

    /// Reads the value of `WWW-Authenticate` with one challenge of this scheme. Parameters that are not known are ignored,
    /// as RFC 9110 §11.2 wants.
    pub fn parse(header: &str) -> Result<Self, ChallengeError> {
        if header.len() > MAX_CHALLENGE_LEN {
            return Err(ChallengeError::TooLong);
        }
        let missing = ChallengeError::Malformed("a parameter is missing");
        let mut parameters = parameters(after_scheme(header).ok_or(ChallengeError::Malformed("another scheme"))?)?;
        let mut needed = |name| parameters.remove(name).ok_or_else(|| missing.clone());
        let (id, realm, method) = (needed("id")?, needed("realm")?, needed("method")?);
        let (intent, request) = (needed("intent")?, needed("request")?);
        if request.len() > MAX_REQUEST_LEN {
            return Err(ChallengeError::TooLong);
        }
        let mut given = |name| parameters.remove(name);
        let (expires, description, digest) = (given("expires"), given("description"), given("digest"));
        let (header, opaque) = (given("header"), given("opaque"));
        Ok(Challenge { id, realm, method, intent, request, expires, description, digest, header, opaque })
    }

    /// The credential that pays for this: the value of `Authorization`.
    pub fn credential(&self, payment: &UnverifiedPayment) -> String {
        let body = CredentialBody { challenge: self.clone(), source: None, payload: PaymentBody::from(payment) };
        format!("{SCHEME} {}", base64url_encode(&json(&body)))
    }

    /// Each field has its place, so that no two challenges give one text.
    fn mac(&self, secret: &[u8; 32]) -> Hmac<Sha256> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut fields = vec![
            self.realm.clone(),
            self.method.clone(),
            self.intent.clone(),
            self.request.clone(),
            text(&self.expires),
            text(&self.digest),
        ];
        fields.extend(self.header.clone());
        fields.push(text(&self.opaque));
        // Any length is a key for HMAC.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(fields.join("|").as_bytes());
        mac
    }

    fn is_ours(&self, secret: &[u8; 32]) -> bool {
        base64url_decode(&self.id).is_ok_and(|id| self.mac(secret).verify_slice(&id).is_ok())
    }
}

/// What a credential pays with, if it answers a challenge of ours for this charge that still runs. `authorization` is the
/// header as it came; the problems tell what to do, but carry no challenge yet.
pub fn admit(
    secret: &[u8; 32],
    charge: &Charge,
    authorization: Option<&str>,
    now: Timestamp,
) -> Result<UnverifiedPayment, Problem> {
    let unpaid = || Problem::new("payment_required", "pay, and ask again with a credential");
    let header = authorization.ok_or_else(unpaid)?;
    if header.len() > MAX_CREDENTIAL_LEN {
        return Err(Problem::new("too_long", format_args!("a credential has at most {MAX_CREDENTIAL_LEN} bytes")));
    }
    let bytes = base64url_decode(after_scheme(header).ok_or_else(unpaid)?);
    let bytes = bytes.map_err(|error| Problem::new("bad_credential", error))?;
    let AnyCredential { challenge, payload } =
        serde_json::from_slice(&bytes).map_err(|error| Problem::new("bad_credential", error))?;
    if (challenge.method.as_str(), challenge.intent.as_str()) != (METHOD, INTENT) {
        let asked = format_args!("{METHOD} with the intent {INTENT} is the only method here");
        return Err(Problem::new("unknown_method", asked));
    }
    if !challenge.is_ours(secret) {
        return Err(Problem::new("bad_challenge", "the challenge is not one of this shop, or was altered"));
    }
    if challenge.request != charge.to_request() {
        return Err(Problem::new("other_item", "the challenge is for another item, price or version than this"));
    }
    if !running(now).iter().any(|expires| challenge.expires.as_ref() == Some(expires)) {
        return Err(Problem::new("challenge_expired", "the challenge has expired"));
    }
    let payload: PaymentBody =
        serde_json::from_value(payload).map_err(|error| Problem::new("bad_credential", error))?;
    let payment = payload.read()?;
    let offer = payment.goods_m.claimed_body();
    if (offer.goods, offer.price, &offer.currency) != (charge.goods, charge.amount, &charge.currency) {
        return Err(Problem::new("other_item", "the payment is for another item, price or version than this"));
    }
    Ok(payment)
}

/// The JSON with which a credential's `payload` pays, for clients that write their credentials themselves.
pub fn payload(payment: &UnverifiedPayment) -> serde_json::Value {
    serde_json::to_value(PaymentBody::from(payment)).unwrap_or_default()
}

/// The `Payment-Receipt` of a sale that the log committed at this time, named by the digest of its header.
pub fn receipt(sale: &Digest, at: Timestamp) -> String {
    #[derive(Serialize)]
    struct Receipt<'a> {
        method: &'a str,
        reference: String,
        status: &'a str,
        timestamp: String,
    }
    let (reference, timestamp) = (sale.to_string(), rfc3339(at));
    base64url_encode(&json(&Receipt { method: METHOD, reference, status: "success", timestamp }))
}

/// When the challenges that now run expire: those of the last hour, and those of this.
fn running(now: Timestamp) -> [String; 2] {
    let grid = CHALLENGE_GRID.0;
    let hour = Timestamp(now.0 - now.0 % grid);
    [hour.plus(CHALLENGE_GRID), hour.plus(CHALLENGE_GRID).plus(CHALLENGE_GRID)].map(rfc3339)
}

/// The time as RFC 3339 writes it, in UTC, with milliseconds.
fn rfc3339(at: Timestamp) -> String {
    let (days, millis) = (at.0 / 86_400_000, at.0 % 86_400_000);
    // Civil from days (Howard Hinnant's), for days since 1970 that are not negative.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1_000)
}

/// What stands behind the name of the scheme.
fn after_scheme(header: &str) -> Option<&str> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest.trim())
}

/// The parameters of a challenge: `name="value"` or `name=token`, with commas between them.
fn parameters(text: &str) -> Result<BTreeMap<String, String>, ChallengeError> {
    let malformed = ChallengeError::Malformed;
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=').ok_or(malformed("a parameter without a value"))?;
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(malformed("a parameter with a strange name, or more than one challenge"));
        }
        let behind = behind.trim_start();
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = behind.find(',').unwrap_or(behind.len());
                let (value, behind) = behind.split_at(end);
                (value.trim().to_owned(), behind)
            }
        };
        if found.insert(name, value).is_some() {
            return Err(malformed("a parameter twice"));
        }
        let after = behind.trim_start();
        if !after.is_empty() && !after.starts_with(',') {
            return Err(malformed("something behind a value"));
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Ok(found)
}

/// A quoted string (RFC 9110 §5.6.4) behind its first quote, and what follows it. `\uXXXX` is what mppx writes for letters
/// that a header cannot hold.
fn quoted_value(text: &str) -> Result<(String, &str), ChallengeError> {
    let mut value = String::new();
    let mut rest = text.chars();
    loop {
        match rest.next() {
            Some('"') => return Ok((value, rest.as_str())),
            Some('\\') => match rest.next() {
                Some('u') => {
                    let code = rest.as_str().get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    match code {
                        Some(code) => {
                            value.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                            rest = rest.as_str().get(4..).unwrap_or_default().chars();
                        }
                        None => value.push('u'),
                    }
                }
                Some(character) => value.push(character),
                None => return Err(ChallengeError::Malformed("a value without an end")),
            },
            Some(character) => value.push(character),
            None => return Err(ChallengeError::Malformed("a value without an end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_800_000_000_123, "2027-01-15T08:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(millis)), text);
        }
    }

    #[test]
    fn challenges_are_read_as_they_were_written() {
        let challenge = Challenge {
            id: "an id".to_owned(),
            realm: "a \"quoted\" \\ realm".to_owned(),
            method: "other".to_owned(),
            intent: "charge".to_owned(),
            request: "e30".to_owned(),
            expires: Some("2027-01-15T08:00:00.000Z".to_owned()),
            description: Some("a, b=c".to_owned()),
            digest: None,
            header: None,
            opaque: Some("e30".to_owned()),
        };
        assert_eq!(Challenge::parse(&challenge.to_header()), Ok(challenge));
        let loose = "payment  ID=x , realm=\"r\",method=m,intent=i,request=e30,more=\"\\u2014\"";
        let read = Challenge::parse(loose).expect("reads");
        assert_eq!((read.id.as_str(), read.request.as_str()), ("x", "e30"));
        assert_eq!(read.charge(), Err(ChallengeError::OtherMethod("m/i".to_owned())));
    }

    #[test]
    fn what_is_no_challenge_is_refused() {
        let good = "Payment id=\"x\", realm=\"r\", method=\"m\", intent=\"i\", request=\"e30\"";
        assert!(Challenge::parse(good).is_ok());
        for bad in [
            "",
            "Payment",
            "Basic realm=\"r\"",
            "Payment id=\"x\"",
            "Payment id=\"x\", id=\"y\", realm=\"r\", method=\"m\", intent=\"i\", request=\"e30\"",
            "Payment id=\"x, realm=\"r\"",
            "Payment id=\"x\" realm=\"r\"",
            "Payment =\"x\"",
            "Payment id=\"x\\",
        ] {
            assert!(matches!(Challenge::parse(bad), Err(ChallengeError::Malformed(_))), "{bad}");
        }
        let long = format!("{good}, more=\"{}\"", "a".repeat(MAX_CHALLENGE_LEN));
        assert_eq!(Challenge::parse(&long), Err(ChallengeError::TooLong));
        let request = good.replace("e30", &"a".repeat(MAX_REQUEST_LEN + 1));
        assert_eq!(Challenge::parse(&request), Err(ChallengeError::TooLong));
    }
}
