//! Every stable code: its status, its meaning, and what the caller should do. docs/codes.md is made from this table.

/// One code's page.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// The stable code.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What it means.
    pub title: &'static str,
    /// What the caller should do.
    pub advice: &'static str,
    /// Whether the very same request can never succeed at the party that it is meant for, whatever happens later: not even
    /// a repetition of it that is still on its way. So an answer by which a wrong party turns a request away is not final,
    /// nor is one to bytes that may not be the ones that were sent.
    pub is_final: bool,
    /// After how many seconds a repetition may succeed.
    pub retry_after: Option<u64>,
}

/// The page of this code.
pub fn find(code: &str) -> Option<Code> {
    CODES.iter().find(|page| page.code == code).copied()
}

/// The codes by which any call may be refused.
pub const OF_ANY_CALL: &[&str] =
    &["malformed", "too_long", "too_slow", "wrong_method", "busy", "unavailable", "internal"];
/// The codes of statements that do not hold.
pub const OF_STATEMENTS: &[&str] = &["not_canonical", "wrong_signer", "bad_signature"];

/// A fault of the party that was asked.
pub const INTERNAL: Code = passing(
    "internal",
    500,
    "the party that was asked failed",
    "Repeat the same request; nothing is lost. If it goes on, tell the operator.",
    5,
);

const fn last(code: &'static str, status: u16, title: &'static str, advice: &'static str) -> Code {
    Code { code, status, title, advice, is_final: true, retry_after: None }
}

const fn open(code: &'static str, status: u16, title: &'static str, advice: &'static str) -> Code {
    Code { code, status, title, advice, is_final: false, retry_after: None }
}

const fn passing(code: &'static str, status: u16, title: &'static str, advice: &'static str, seconds: u64) -> Code {
    Code { code, status, title, advice, is_final: false, retry_after: Some(seconds) }
}

/// All codes, in the order of docs/codes.md.
pub const CODES: &[Code] = &[
    // Bytes.
    last("malformed", 400, "not a message of the expected kind", "Mend the sender; see docs/spec."),
    last(
        "not_canonical",
        400,
        "not in deterministic form",
        "Write CBOR by RFC 8949 §4.2, and signatures sorted by key.",
    ),
    last("too_long", 413, "longer than allowed", "Split the request; the limits are in docs/spec/http.md."),
    last("wrong_signer", 403, "signed by another key than expected", "Sign with the key that the statement names."),
    last("bad_signature", 403, "a signature does not hold", "Sign again; Ed25519 is verified strictly."),
    passing(
        "too_slow",
        408,
        "the request did not arrive whole and in time",
        "Repeat the same request; nothing is lost.",
        1,
    ),
    open("not_found", 404, "no such resource", "Check the path; see docs/spec/http.md."),
    open(
        "wrong_listener",
        421,
        "the request names an account, and came where nobody is named",
        "Send it to the account address of the bank.",
    ),
    open("wrong_method", 405, "the resource is not asked by this method", "Use the method that `Allow` names."),
    open(
        "wrong_media_type",
        415,
        "the body is of another media type than expected",
        "Send the media type that the detail names.",
    ),
    last("range", 416, "the range lies outside of the goods", "Ask for a range within the size in the offer."),
    // The exchange.
    open("wrong_bank", 421, "the request is for another bank", "Ask the bank that the request names."),
    last("wrong_currency", 400, "the bank does not keep that currency", "Use the currency of the bank's description."),
    last("exchange_size", 400, "too few or too many inputs or outputs", "Split the exchange."),
    last("signature_missing", 403, "an input's key has not signed", "Sign with every key that an input names."),
    last("signature_unneeded", 400, "a key signed that no input names", "Leave out signatures that are not needed."),
    open("unknown_brand", 404, "no brand of this bank has that key", "Fetch the bank's brands again."),
    open(
        "brand_not_issuing",
        409,
        "tokens of that brand are not issued now, or not yet",
        "Fetch the bank's brands and ask for this period's.",
    ),
    last(
        "brand_closed",
        410,
        "tokens of that brand can no longer be used so",
        "Deposit or exchange tokens before their brand's dates.",
    ),
    last("bad_token", 403, "the token is not one of its brand", "Unblind again; a forged token is worth nothing."),
    last(
        "wrong_serial",
        403,
        "the token was not made for that key and serial number",
        "Show the Q and s that its nonce was made of.",
    ),
    last(
        "wrong_purpose",
        403,
        "tokens of that brand are not for that use",
        "Fund checks with passage tokens; cash a purse's check with the ticks.",
    ),
    last("purse_brand", 403, "the brand is not one of this bank's purses", "Show a check of a purse of this bank."),
    last(
        "purse_value",
        403,
        "the check's total is not what the purse's key signs for",
        "Ask the purse for another total.",
    ),
    last("purse_dates", 403, "the check outlives its purse's brand", "Load the purse for the next brand."),
    last("purse_signature", 403, "no purse has signed this check", "Take no checks without verifying them."),
    open(
        "purse_overdrawn",
        409,
        "more was made out by purses of the brand than was loaded into them",
        "Take no more checks of this brand: a key of it is out. Its operator sees to what is left.",
    ),
    last("purse_stopped", 410, "the purses of the brand are stopped", "Take no checks of this brand."),
    last("duplicate_input", 400, "the same input twice", "Name every input once."),
    last("duplicate_output", 400, "the same blinded message twice", "Blind every output afresh."),
    open("account_full", 409, "the account cannot hold so much", "Credit another account."),
    last("amount_out_of_range", 400, "an amount that is zero or too large", "Use amounts above zero."),
    last("unbalanced", 400, "inputs and outputs differ in value", "Ask for outputs of exactly the inputs' value."),
    last(
        "condition_inputs",
        400,
        "a purchase is paid with tokens alone",
        "Withdraw tokens first; q is the first token's key.",
    ),
    last(
        "condition_outputs",
        400,
        "a purchase credits the merchant once",
        "Credit the merchant once, and take the rest as change.",
    ),
    last(
        "reusable_q",
        409,
        "two-sided delivery with a reusable key, for an entry that everybody can read",
        "Pay first with a token that has a key of its own, or have the entry encrypted.",
    ),
    open("unknown_log", 421, "that log is not heeded", "Choose a log from the bank's description and the offer."),
    last(
        "expiry_too_soon",
        422,
        "the expiry is too near",
        "Authorize again with a later expiry; this one can no longer be locked.",
    ),
    open("no_delivery", 422, "the bank does not carry promises to that merchant", "Carry the promise yourself."),
    open("expiry_too_late", 422, "the expiry is too far", "Authorize again with an earlier expiry."),
    last(
        "lapsed",
        410,
        "the purchase was freed before the bank heard of the commit",
        "The merchant keeps this log itself and has agreed to claim in time; the claim is void.",
    ),
    open("unknown_account", 404, "the account is not open", "Open the account first."),
    open("insufficient_funds", 402, "the account holds less than that", "Pay money in first."),
    last(
        "spent",
        409,
        "a token of the request is spent",
        "The evidence is the request that spent it, with the log's commit if it was a purchase; the other tokens are free.",
    ),
    open(
        "locked",
        409,
        "the token is locked for a purchase",
        "See the earlier request in the evidence through: commit or abort frees what is not spent.",
    ),
    last(
        "in_parts",
        409,
        "a token of the request is spent in parts",
        "Give up what is left on it as a part; the evidence is the request that began it.",
    ),
    open(
        "too_many_parts",
        409,
        "the token has been used in as many parts as there may be",
        "Take all that is left on it, or exchange that.",
    ),
    last("order_used", 409, "the order was used for another request", "Draw a fresh order."),
    open("offer_taken", 409, "another authorization for this offer is live or committed", "Take a fresh offer."),
    open(
        "unknown_purchase",
        404,
        "no such purchase or exchange is known here",
        "Check the id; a request that never arrived leaves no trace.",
    ),
    // Checks.
    last("chain_length", 400, "a check without ticks, with too many, or with worthless ones", "Make it anew."),
    last(
        "chain_bounds",
        400,
        "ticks do not lead from one to a later one of the check",
        "Cash from the last tick that was paid.",
    ),
    last("tick_forged", 403, "no tick of this chain", "Only the ticks that were received can be cashed."),
    open(
        "unknown_chain",
        404,
        "nothing is set aside for that check",
        "Post what funds it first; a check that the bank has not certified is worth nothing.",
    ),
    open("chain_taken", 409, "money is set aside for that check already", "Make another check."),
    last(
        "chain_misfit",
        409,
        "what was set aside is not for that check",
        "Take only checks that their certificate covers.",
    ),
    last("wrong_payee", 403, "the check is not made out to that payee", "Only its payee can cash it."),
    open(
        "chain_advanced",
        409,
        "the bank has paid to another tick than the first one shown",
        "Cash from the tick that the detail names.",
    ),
    open("chain_exceeded", 409, "less is left on the check than that", "Take at most what the detail names."),
    last("challenge_forged", 403, "the challenge is not this bank's", "Fetch one from the bank."),
    last("challenge_stale", 409, "the challenge is too old", "Fetch a fresh one, and sign again."),
    open(
        "remainder_early",
        425,
        "the payee may still cash",
        "Wait until the time that the detail names, or ask the payee to close the check.",
    ),
    open("remainder_moved", 409, "something of the remainder was taken meanwhile", "Ask for what is left after it."),
    last("wrong_refund_key", 403, "the remainder belongs to another key", "Sign with the check's refund key."),
    last("bad_close", 403, "not the payee's word on this check", "Ask the payee for its signed close."),
    last("bad_decision", 403, "the log's decision does not hold", "Fetch the decision from the log again."),
    last(
        "decision_misfit",
        409,
        "the decision does not fit the purchase",
        "Keep it: it may be evidence against the log.",
    ),
    last(
        "key_mismatch",
        409,
        "the key does not open the commitment",
        "Keep it: a log that committed to it has broken the protocol.",
    ),
    last("log_contradiction", 409, "the log decided otherwise before", "Keep both decisions: they convict the log."),
    // Privacy Pass issuance.
    last(
        "bad_token_request",
        422,
        "not a token request of this brand",
        "Send the 259 bytes of RFC 9578, made with this brand's key, to this brand's URL.",
    ),
    open(
        "order_missing",
        402,
        "the token is not paid for",
        "Repeat the request with an order of this token in `Authorization` (docs/spec/privacy-pass.md).",
    ),
    last(
        "order_misfit",
        422,
        "the order is for something else than this token",
        "Sign an exchange whose one output is the blinded message in the body.",
    ),
    open("stale", 425, "the question is not fresh", "Set the clock, and ask again."),
    // The log.
    open("wrong_log", 421, "the header names another log", "Ask the log that the header names."),
    open(
        "wrong_entry",
        422,
        "that kind of log entry is not taken here",
        "Choose a kind that the offer and the log's description name; abort what is locked.",
    ),
    open("unknown_bank", 421, "that bank is not accepted here", "Choose a bank from the description."),
    last(
        "other_purchase",
        400,
        "the authorization is for another purchase",
        "Send header and authorization of one purchase.",
    ),
    passing("not_expired", 425, "the purchase has not expired", "Ask again after the expiry.", 1),
    last("too_old", 410, "the purchase expired too long ago", "Decisions are made within the log's retention."),
    passing(
        "undecided",
        404,
        "nothing is decided on that purchase",
        "Wait for the merchant, or ask for an abort after the expiry.",
        1,
    ),
    // The witness.
    open("unknown_origin", 404, "the witness does not know that log", "Ask the witness's operator to take the log in."),
    last(
        "inconsistent",
        422,
        "the tree does not continue the one that was cosigned last",
        "Prove the step from the witness's size; a log that cannot has rewritten its tree, or was restored from an old copy.",
    ),
    // The directory.
    open(
        "mix_not_allowed",
        403,
        "the directory does not list that mix",
        "Ask the directory's operator to allow the mix.",
    ),
    last(
        "descriptor_bad",
        400,
        "the descriptor makes no sense",
        "Mend the mix's settings; the detail says what is wrong.",
    ),
    open(
        "descriptor_old",
        409,
        "the descriptor has run out, or is older than the one that is listed",
        "Sign a new one; check the clock.",
    ),
    // The shop.
    open("unknown_item", 404, "the shop has no such item", "See the catalogue."),
    open(
        "unknown_order",
        404,
        "nobody has left an order for that number",
        "Leave the order first, or pay by carrying the promise.",
    ),
    open("not_my_offer", 421, "the offer is another merchant's", "Pay the merchant that made the offer."),
    last("other_offer", 409, "the bank's promise is for another offer", "Send the header and promise of this offer."),
    last("wrong_value", 402, "the promise is not of the offer's price", "Authorize exactly the price."),
    last(
        "goods_q",
        403,
        "two-sided delivery wants goods_q by the key that pays",
        "Sign the offer with the first token's key.",
    ),
    last(
        "not_the_buyer",
        403,
        "the request is not signed by the key that paid",
        "Sign with the first token's key, and show the authorization that the sale was paid with.",
    ),
    open("no_refund", 404, "there is no such refund of this sale", "Ask the shop's keeper to grant one."),
    last("refund_outputs", 400, "a refund goes into blinded outputs", "Name blinded outputs of the refund's value."),
    last("too_late", 410, "too little time is left before the expiry", "Wait for the expiry, abort, and buy again."),
    // The shop, by the `Payment` scheme.
    open(
        "payment_required",
        402,
        "the item is to be paid for",
        "Pay what `WWW-Authenticate` says, and repeat the request with the credential (docs/spec/payment-scheme.md).",
    ),
    open(
        "bad_credential",
        402,
        "the credential cannot be read",
        "Write it as docs/spec/payment-scheme.md says: base64url of JSON with challenge and payload.",
    ),
    open("unknown_method", 402, "that payment method is not taken", "Pay by the method that `WWW-Authenticate` names."),
    open(
        "bad_challenge",
        402,
        "the challenge is not one of this shop, or was altered",
        "Answer the challenge that comes with this refusal, unaltered; the same payment may be used.",
    ),
    open(
        "other_item",
        402,
        "the credential is for another item, price or version",
        "Ask for the item that was paid for; a sale that was made is answered by `POST /v1/payments`, too.",
    ),
    open(
        "challenge_expired",
        402,
        "the challenge has expired",
        "Answer the challenge that comes with this refusal; the same payment may be used.",
    ),
    open(
        "not_committed",
        402,
        "the log has aborted that purchase",
        "The tokens are free; the evidence is the log's decision. Buy again.",
    ),
    // Any party.
    passing("busy", 429, "too many requests at once", "Repeat the same request a little later.", 1),
    passing(
        "unavailable",
        503,
        "the party cannot write or is stopping",
        "Repeat the same request later; nothing is lost.",
        2,
    ),
    INTERNAL,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for page in CODES {
            assert!(seen.insert(page.code), "{} twice", page.code);
            assert!((400..600).contains(&page.status), "{}", page.code);
            assert!(page.code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", page.code);
        }
    }

    /// docs/codes.md holds a line for every code, in the same order, and no other.
    #[test]
    fn the_page_of_codes_is_this_table() {
        let page = include_str!("../../docs/codes.md");
        let line = |code: &Code| {
            let is_final = if code.is_final { "final" } else { "" };
            format!("| `{}` | {} | {is_final} | {} | {} |", code.code, code.status, code.title, code.advice)
        };
        let expected: Vec<String> = CODES.iter().map(line).collect();
        let found: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(found, expected, "docs/codes.md should be\n{}", expected.join("\n"));
    }
}
