//! Checkpoints of our own: round trip, and what is refused.

use naulon_tlog::*;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const ORIGIN: &str = "log.example/fares";

fn signer() -> CheckpointSigner {
    CheckpointSigner::new(ORIGIN, &[7; 32]).expect("a signer")
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: if size == 0 { empty_root() } else { leaf_hash(b"root") } }
}

fn signed(checkpoint: &Checkpoint) -> String {
    signer().sign(checkpoint).expect("our origin").into_string()
}

#[test]
fn round_trip() {
    for size in [0, 1, 10, 49_189_689, MAX_TREE_SIZE, u64::MAX] {
        let note = signed(&checkpoint(size));
        assert_eq!(signer().verifier().open(&note), Ok(checkpoint(size)));
        assert_eq!(note, signed(&checkpoint(size)), "signing is deterministic");
    }
    let other = Checkpoint { origin: "other.example".into(), ..checkpoint(1) };
    assert_eq!(signer().sign(&other), Err(SignError::OtherOrigin));
}

#[test]
fn the_vkey_has_one_spelling() {
    let vkey = signer().verifier().to_string();
    let parsed: CheckpointVerifier = vkey.parse().expect("a vkey");
    assert_eq!((&parsed, parsed.origin()), (signer().verifier(), ORIGIN));
    let (name, rest) = vkey.split_once('+').expect("a name");
    let (id, data) = rest.split_once('+').expect("an id");
    let refused = |vkey: String| assert!(vkey.parse::<CheckpointVerifier>().is_err(), "{vkey}");
    refused(format!("other.example+{id}+{data}"));
    refused(format!("{name}+00000000+{data}"));
    refused(format!("{name}+{}+{data}", id.to_uppercase()));
    refused(format!("{name}+{id}+{}", &data[..43]));
    refused(format!("{name}+{id}+{data}=="));
    refused(format!("{name}+{id}+{data}\n"));
    refused(format!("{name}+{id}"));
    refused(format!("+{id}+{data}"));
    refused(format!("a b+{id}+{data}"));
    // A witness's key has type 0x04 and cannot sign for the log, even with the right id.
    let of_witness = [&[0x04][..], parsed.public_key()].concat();
    let hash = Sha256::new().chain_update(format!("{name}\n")).chain_update(&of_witness).finalize();
    refused(format!("{name}+{}+{}", hex::encode(&hash[..4]), base64(&of_witness)));
    refused("x".repeat(100_000));
}

#[test]
fn names_and_keys_are_checked() {
    let key = *signer().verifier().public_key();
    for name in ["", "a b", "a\u{a0}b", "a+b", "a\nb", "a\u{7f}b", &"x".repeat(MAX_NAME_LEN + 1)] {
        assert_eq!(CheckpointVerifier::new(name, &key), Err(KeyError::Name), "{name:?}");
        assert_eq!(CheckpointSigner::new(name, &[7; 32]).err(), Some(KeyError::Name));
    }
    assert!(CheckpointVerifier::new(&"x".repeat(MAX_NAME_LEN), &key).is_ok());
    for origin in ["", "a\nb", &"x".repeat(MAX_NAME_LEN + 1)] {
        assert_eq!(signer().verifier().clone().with_origin(origin), Err(KeyError::Origin));
    }
    let mut keys = vec![[0; 32], [0xff; 32]]; // of small order; not canonical
    let mut identity = [0; 32];
    identity[0] = 1;
    keys.push(identity);
    // The y of a good point plus the field's prime, a second spelling: y = 3 + 2^255 - 19 = 2^255 - 16.
    let mut second_spelling = [0xff; 32];
    (second_spelling[0], second_spelling[31]) = (0xf0, 0x7f);
    let mut first_spelling = [0; 32];
    first_spelling[0] = 3;
    assert!(CheckpointVerifier::new("log.example", &first_spelling).is_ok());
    keys.push(second_spelling);
    for key in keys {
        assert_eq!(CheckpointVerifier::new("log.example", &key), Err(KeyError::PublicKey), "{key:?}");
    }
}

/// Signs any text with the log's own key, as a note, through a reference implementation.
fn signed_text(text: &str) -> String {
    let seed = [&[1][..], &[7; 32]].concat();
    let vkey = signer().verifier().to_string();
    let id = vkey.split('+').nth(1).expect("an id");
    let skey = format!("PRIVATE+KEY+{ORIGIN}+{id}+{}", base64(&seed));
    let signer = signed_note::StandardSigner::new(&skey).expect("a key");
    let mut note = signed_note::Note::new(text.as_bytes(), &[]).expect("a note");
    note.add_sigs(&[&signer]).expect("a signature");
    String::from_utf8(note.to_bytes()).expect("text")
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::Encoding;
    base64ct::Base64::encode_string(bytes)
}

#[test]
fn only_the_canonical_text_is_a_checkpoint() {
    let root = base64(&leaf_hash(b"root"));
    let good = format!("{ORIGIN}\n12\n{root}\n");
    assert_eq!(signed_text(&good), signed(&checkpoint(12)), "the reference makes the same note");

    let refused = |text: &str, why| assert_eq!(signer().verifier().open(&signed_text(text)), Err(why), "{text:?}");
    let (bad, other) = (CheckpointError::NotACheckpoint, CheckpointError::OtherOrigin);
    refused(&format!("other.example\n12\n{root}\n"), other);
    refused(&format!("{ORIGIN} \n12\n{root}\n"), other);
    refused(&format!("\n12\n{root}\n"), other);
    for size in ["012", "+12", "-1", " 12", "12 ", "", "1e1", "0x12", "18446744073709551616", "٣"] {
        refused(&format!("{ORIGIN}\n{size}\n{root}\n"), bad);
    }
    for root in ["", "AAAA", &root[..43], &format!("{root}="), &format!("{root}\n"), &root.replace('=', "A")] {
        refused(&format!("{ORIGIN}\n12\n{root}\n"), bad);
    }
    refused(&format!("{ORIGIN}\n0\n{root}\n"), bad);
    refused(&format!("{ORIGIN}\n12\n{root}\nextension\n"), bad);
    refused(&format!("{ORIGIN}\n12\n"), bad);
    refused("\n", bad);
}

#[test]
fn cosignatures_are_tolerated_and_strangers_do_not_count() {
    let (note, verifier) = (signed(&checkpoint(3)), signer());
    let verifier = verifier.verifier();
    let cosignature = format!("\u{2014} witness.example/w1 {}\n", base64(&[9; 4 + 8 + 64]));
    let of_our_name = format!("\u{2014} {ORIGIN} {}\n", base64(&[9; 4 + 64]));
    assert_eq!(verifier.open(&format!("{note}{}{of_our_name}", cosignature.repeat(16))), Ok(checkpoint(3)));
    let post_quantum = format!("\u{2014} witness.example/w2 {}\n", base64(&[9; 4 + 8 + 5000])).repeat(16);
    assert_eq!(verifier.open(&format!("{note}{post_quantum}")), Ok(checkpoint(3)));
    assert_eq!(verifier.open(&format!("{}\n{cosignature}", checkpoint(3).text())), Err(CheckpointError::NotSigned));
    let stranger = CheckpointSigner::new(ORIGIN, &[8; 32]).expect("a signer");
    let theirs = stranger.sign(&checkpoint(3)).expect("the same origin");
    assert_eq!(verifier.open(theirs.as_str()), Err(CheckpointError::NotSigned));
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let note = signed(&checkpoint(1234));
        let mut bytes = note.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(changed == note || signer().verifier().open(&changed).is_err());
        }
        let cut = note.chars().take(at).collect::<String>();
        prop_assert!(cut == note || signer().verifier().open(&cut).is_err());
    }

    #[test]
    fn nothing_panics(note in "\\PC*", lines in "(\u{2014} [a-z.]{0,5} [A-Za-z0-9+/=]{0,20}\n?){0,5}") {
        let _ = signer().verifier().open(&note);
        let _ = note.parse::<CheckpointVerifier>();
        let note = format!("{note}\n\n{lines}");
        prop_assert!(signer().verifier().open(&note).is_err());
    }
}
