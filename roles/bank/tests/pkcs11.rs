//! Brand keys in a real PKCS#11 token: Debian's SoftHSM2, with a token of the test's own in a temporary folder.
//!
//! The library finds its tokens by an environment variable, which a Rust program cannot safely set for itself; so what
//! needs a token is in tests that are ignored, and one test runs this program again for them, with the variable set.

#![allow(clippy::panic)] // In what the tests share; they may.

mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use naulon_bank::{Bank, KeyRing, Keychain, MemoryStore, Signatory, SignatoryError, TokenError, TokenKeys};
use naulon_blind::{BlindedMessage, SignError};
use naulon_exchange::State;
use naulon_statement::Digest;
use world::*;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const LABEL: &str = "naulon test";
const PIN: &str = "2468";
const FOLDER: &str = "NAULON_TEST_TOKENS";

/// Every claim on a signatory, with the keys of the world in it.
fn signs<S: Signatory>(signatory: &S) {
    for secret in issuer_secrets() {
        let id = Digest(*secret.public().key_id());
        assert!(signatory.holds(&id));
        for byte in [0, 5, 0x7f] {
            let message = BlindedMessage([byte; 256]);
            assert_eq!(signatory.blind_sign(&id, &message), Ok(secret.blind_sign(&message).expect("signs")));
        }
        let refused = signatory.blind_sign(&id, &BlindedMessage([0xff; 256]));
        assert_eq!(refused, Err(SignatoryError::Sign(SignError::OutOfRange)));
    }
    let other = Digest([1; 32]);
    assert!(!signatory.holds(&other));
    assert_eq!(signatory.blind_sign(&other, &BlindedMessage([5; 256])), Err(SignatoryError::Missing));
}

#[test]
fn a_ring_signs() {
    signs(&KeyRing::new(issuer_secrets().iter().cloned()));
}

#[test]
fn a_library_that_is_none_is_told_by_name() {
    let none = TokenKeys::open(Path::new("/nowhere/pkcs11.so"), LABEL, PIN.as_bytes()).expect_err("there is none");
    assert!(matches!(none, TokenError::Library { .. }) && none.to_string().contains("/nowhere/pkcs11.so"), "{none}");
}

#[test]
fn on_a_real_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = folder.path().join("softhsm2.conf");
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).expect("a folder");
    std::fs::write(&configuration, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .expect("writes");
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "1357"])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .expect("Debian's package softhsm2 is installed, as `cargo xtask test` does");
    assert!(made.status.success(), "{made:?}");
    let again = Command::new(std::env::current_exe().expect("a program"))
        .args(["--ignored", "--test-threads=1", "token::"])
        .env("SOFTHSM2_CONF", &configuration)
        .env(FOLDER, &tokens)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success(), "{said}\n{}", String::from_utf8_lossy(&again.stderr));
    assert!(said.contains("5 passed"), "{said}");
}

/// What runs with a token: one use of the library in the process.
mod token {
    use super::*;

    fn keys() -> &'static TokenKeys {
        static KEYS: OnceLock<TokenKeys> = OnceLock::new();
        KEYS.get_or_init(|| {
            for (label, pin, refused) in [("another", PIN, "no token"), (LABEL, "1234", "refuses the PIN")] {
                let error = TokenKeys::open(Path::new(MODULE), label, pin.as_bytes()).expect_err("is refused");
                assert!(error.to_string().contains(refused), "{error}");
            }
            let keys = TokenKeys::open(Path::new(MODULE), LABEL, PIN.as_bytes()).expect("opens");
            for secret in issuer_secrets() {
                keys.import(secret).expect("takes the key in");
                keys.import(secret).expect("once");
            }
            keys
        })
    }

    #[test]
    #[ignore = "run by on_a_real_token"]
    fn a_token_signs_with_keys_that_it_took_in() {
        signs(keys());
    }

    #[test]
    #[ignore = "run by on_a_real_token"]
    fn a_token_makes_keys_signs_and_destroys_them() {
        let key = keys().generate().expect("makes a key");
        let id = Digest(*key.key_id());
        let message = BlindedMessage([3; 256]);
        let signature = keys().blind_sign(&id, &message).expect("signs");
        assert!(key.check_blind_signature(&message, signature.0).is_ok());
        assert_eq!((keys().destroy(&id).expect("destroys"), keys().destroy(&id).expect("is gone")), (true, false));
        assert_eq!(keys().blind_sign(&id, &message), Err(SignatoryError::Missing));
    }

    /// The pool: more threads than sessions there are at first, all at once.
    #[test]
    #[ignore = "run by on_a_real_token"]
    fn many_threads_sign_at_once() {
        let secret = &issuer_secrets()[0];
        let id = Digest(*secret.public().key_id());
        std::thread::scope(|scope| {
            for thread in 0..16_u8 {
                scope.spawn(move || {
                    for number in 0..20 {
                        let message = BlindedMessage([[thread, number]; 128].concat().try_into().expect("256"));
                        assert_eq!(keys().blind_sign(&id, &message), Ok(secret.blind_sign(&message).expect("signs")));
                    }
                });
            }
        });
    }

    /// The token is pulled out: a named error. It is put back: the same signatory goes on.
    #[test]
    #[ignore = "run by on_a_real_token"]
    fn a_token_that_is_gone_and_back() {
        let tokens = PathBuf::from(std::env::var_os(FOLDER).expect("a folder"));
        let id = Digest(*issuer_secrets()[1].public().key_id());
        let sign = |byte| keys().blind_sign(&id, &BlindedMessage([byte; 256]));
        sign(1).expect("signs");
        let away = tokens.with_extension("away");
        std::fs::rename(&tokens, &away).expect("renames");
        std::fs::create_dir(&tokens).expect("a folder");
        for _ in 0..3 {
            assert_eq!(sign(2), Err(SignatoryError::Unreachable));
            assert!(!keys().holds(&id));
        }
        std::fs::remove_dir_all(&tokens).expect("removes");
        std::fs::rename(&away, &tokens).expect("renames");
        sign(2).expect("signs again");
    }

    /// A bank whose brands' keys lie partly in files, partly in the token, serves both.
    #[test]
    #[ignore = "run by on_a_real_token"]
    fn a_bank_on_a_token() {
        struct Borrowed;
        impl Signatory for Borrowed {
            fn blind_sign(
                &self,
                brand: &Digest,
                message: &BlindedMessage,
            ) -> Result<naulon_blind::BlindSignature, SignatoryError> {
                keys().blind_sign(brand, message)
            }
        }
        let bank = Bank::open(world::keys(), rules(), Arc::new(Borrowed), MemoryStore::default());
        let mut bank = bank.expect("opens");
        for call in [open_account(&key("alice")), credit(&key("alice"), amount("100"), 1)] {
            ask(&mut bank, call).expect("accepted");
        }
        let coins = withdraw(&mut bank, 1, &[ONE, FIVE]);
        let blind = Blind::new(FIVE, 77);
        let renewed = call(exchange(vec![coins[1].input()], vec![blind.output()]), [&coins[1].q]);
        let reply = ask_exchange(&mut bank, renewed).expect("exchanged");
        assert_eq!(reply.state, State::Done);
        blind.coin(&reply.signatures[0]);
        let ring = KeyRing::new([issuer_secrets()[0].clone()]);
        let chain = Keychain { ring, token: None };
        assert!(chain.holds(&brand_id(0)) && !chain.holds(&brand_id(1)));
    }
}
