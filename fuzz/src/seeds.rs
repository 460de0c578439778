//! Where a search begins: one of everything that is sound.

use naulon_blind::{BlindedMessage, TokenRequest};
use naulon_exchange::Input;
use naulon_tlog::{Checkpoint, CheckpointSigner, WitnessSigner, encode_bundle};
use naulon_wire::{BankReply, Call};

use crate::{calls, payment, samples};

const ORIGIN: &str = "log.example/fuzz";

/// The keys of the checkpoints: a log's and a witness's.
pub fn tlog_signers() -> (CheckpointSigner, WitnessSigner) {
    let log = CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a key");
    (log, WitnessSigner::new("witness.example", &[8; 32]).expect("a key"))
}

/// For each target some inputs that it accepts, with a name each.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    let mut add = |target: &'static str, name: &str, bytes: Vec<u8>| seeds.push((target, name.to_owned(), bytes));
    call_seeds("bank", samples::bank(), &mut add);
    call_seeds("log", samples::log(), &mut add);
    call_seeds("shop", samples::shop(), &mut add);
    let descriptions = samples::bank().into_iter().flat_map(|(_, replies)| replies);
    for reply in descriptions {
        if let BankReply::Description(description) = reply {
            description.register.brands.iter().for_each(|brand| add("brand", "of-a-bank", brand.bytes().to_vec()));
        }
    }
    add("statement", "header", samples::header().bytes().to_vec());
    add("statement", "goods-m", samples::goods_m().bytes().to_vec());
    let (log, witness) = tlog_signers();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: 3, root: [9; 32] };
    let note = log.sign(&checkpoint).expect("signs").into_string();
    let cosignature = witness.cosign(&checkpoint, 1_800_000_000).expect("cosigns");
    add("checkpoint", "signed", note.clone().into_bytes());
    add("checkpoint", "cosigned", format!("{note}{}\n", cosignature.line().trim_end()).into_bytes());
    add("text", "log-key", log.verifier().to_string().into_bytes());
    add("text", "witness-key", witness.verifier().to_string().into_bytes());
    add("text", "key", samples::key(1).public().to_string().into_bytes());
    add("text", "amount", b"12.50".to_vec());
    add("text", "tile", b"/tile/0/x001/067.p/3".to_vec());
    let bundle = encode_bundle(&[&b"one"[..], b"", b"three"]).expect("short entries");
    add("tile", "bundle", [b"/tile/entries/000\n".to_vec(), bundle].concat());
    add("proof", "path", [&7_u64.to_be_bytes()[..], &9_u64.to_be_bytes(), &[5; 96]].concat());
    let exchange = samples::exchange();
    if let Some(Input::Token { token, .. }) = exchange.inputs.first() {
        add("token", "token", token.to_bytes().to_vec());
    }
    let request = TokenRequest { truncated_key_id: 3, blinded: BlindedMessage([4; 256]) };
    add("token", "request", request.to_bytes().to_vec());
    add("joint", "exchange", joint_bytes(exchange.payload(), exchange.signatures()));
    payment::seeds().into_iter().for_each(|(name, header)| add("payment", name, header.into_bytes()));
    add("evidence", "empty", br#"{"format":"naulon-evidence-1"}"#.to_vec());
    add(
        "exchange-operations",
        "lock-and-settle",
        b"\x00\x02\x00\x01\x00\x01\x04\x00\x00\x00\x00\x00\x06\x00\x00\x00".to_vec(),
    );
    add("purchase-operations", "plain", vec![0; 12]);
    crate::onion::seeds().into_iter().for_each(|(name, block)| add("block", name, block));
    add("meter-operations", "every-protocol", (0..=255).collect());
    seeds
}

fn joint_bytes(payload: &[u8], signatures: &[naulon_statement::Detached]) -> Vec<u8> {
    let part = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let signatures = signatures.iter().map(|signature| part(signature.bytes()));
    std::iter::once(part(payload)).chain(signatures).flatten().collect()
}

fn call_seeds<C: Call>(
    party: &'static str,
    all: Vec<(C, Vec<C::Reply>)>,
    add: &mut impl FnMut(&'static str, &str, Vec<u8>),
) {
    let (call_target, reply_target) = match party {
        "bank" => ("bank-call", "bank-reply"),
        "log" => ("log-call", "log-reply"),
        _ => ("shop-call", "shop-reply"),
    };
    for (number, (call, replies)) in all.into_iter().enumerate() {
        add(call_target, &format!("{number}"), calls::as_bytes(&call.to_http()));
        for (place, reply) in replies.into_iter().enumerate() {
            add(reply_target, &format!("{number}-{place}"), C::reply_to_http(reply).body.to_vec());
        }
    }
}
