//! `cashu-swaps MINT_URL PROOFS SWAPS`: mints tokens of 1 sat and prints the bodies of so many swap requests (NUT-03),
//! one a line, each of so many proofs for as many blinded messages. The mint is to pay its invoices itself (the fake
//! wallet of cdk-mintd).

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cashu::dhke::{blind_message, construct_proofs};
use cashu::nuts::{
    BlindedMessage, CurrencyUnit, KeySet, KeysResponse, MintQuoteBolt11Request, MintRequest, MintResponse, Proof,
    SecretKey, SwapRequest,
};
use cashu::secret::Secret;
use cashu::Amount;
use serde_json::Value;

/// Tokens of one minting; the mint's own limit is 1,000.
const MINTED_AT_ONCE: usize = 500;
/// How often the quote is asked for, and how long is waited in between.
const ASKED: usize = 600;
const WAIT: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [mint, proofs, swaps] = words.as_slice() else { bail!("usage: cashu-swaps MINT_URL PROOFS SWAPS") };
    let (each, swaps): (usize, usize) = (proofs.parse()?, swaps.parse()?);
    let mint = Mint { url: mint.trim_end_matches('/').to_owned() };
    let keys = mint.keys()?;
    let mut proofs = Vec::with_capacity(each * swaps);
    while proofs.len() < each * swaps {
        let wanted = MINTED_AT_ONCE.min(each * swaps - proofs.len());
        proofs.extend(mint.mint(&keys, wanted)?);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for inputs in proofs.chunks_exact(each) {
        let (outputs, ..) = blinded(&keys, each)?;
        serde_json::to_writer(&mut out, &SwapRequest::new(inputs.to_vec(), outputs))?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

struct Mint {
    url: String,
}

impl Mint {
    fn keys(&self) -> Result<KeySet> {
        let response: KeysResponse = ureq::get(format!("{}/v1/keys", self.url)).call()?.body_mut().read_json()?;
        response.keysets.into_iter().find(|set| set.unit == CurrencyUnit::Sat).context("the mint has no keys for sat")
    }

    fn mint(&self, keys: &KeySet, count: usize) -> Result<Vec<Proof>> {
        let amount = Amount::from(u64::try_from(count)?);
        let request =
            MintQuoteBolt11Request { amount, unit: CurrencyUnit::Sat, description: None, pubkey: None };
        let quote: Value = self.post("/v1/mint/quote/bolt11", &request)?;
        let quote = quote["quote"].as_str().context("a quote has an id")?.to_owned();
        self.wait_for_payment(&quote)?;
        let (outputs, secrets, blindings) = blinded(keys, count)?;
        let request = MintRequest { quote, outputs, signature: None };
        let response: MintResponse = self.post("/v1/mint/bolt11", &request)?;
        ensure!(response.signatures.len() == count, "the mint signed {} of {count}", response.signatures.len());
        Ok(construct_proofs(response.signatures, blindings, secrets, &keys.keys)?)
    }

    fn wait_for_payment(&self, quote: &str) -> Result<()> {
        for _ in 0..ASKED {
            let url = format!("{}/v1/mint/quote/bolt11/{quote}", self.url);
            let state: Value = ureq::get(url).call()?.body_mut().read_json()?;
            if state["state"] == "PAID" {
                return Ok(());
            }
            thread::sleep(WAIT);
        }
        bail!("the mint's quote was not paid")
    }

    fn post<T: serde::de::DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T> {
        Ok(ureq::post(format!("{}{path}", self.url)).send_json(body)?.body_mut().read_json()?)
    }
}

/// So many blinded messages of 1 sat, with what is needed to unblind them.
fn blinded(keys: &KeySet, count: usize) -> Result<(Vec<BlindedMessage>, Vec<Secret>, Vec<SecretKey>)> {
    let (mut outputs, mut secrets, mut blindings) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let secret = Secret::generate();
        let (message, blinding) = blind_message(secret.as_bytes(), None)?;
        outputs.push(BlindedMessage::new(Amount::ONE, keys.id, message));
        secrets.push(secret);
        blindings.push(blinding);
    }
    Ok((outputs, secrets, blindings))
}
