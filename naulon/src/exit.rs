//! How the program ends, as a number (documented in `naulon --help`).

use std::fmt;
use std::process::ExitCode;

use naulon_wallet::{DriverError, WalletError};
use naulon_wire::CallError;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// It failed; for `audit`, the books disagree.
    Failed = 1,
    /// The command line is wrong; for `verify`, the evidence proves a breach.
    Usage = 2,
    /// A party refused, or there is not enough money; for `verify`, the evidence says too little.
    Refused = 3,
    /// Begun and written down, not finished: `naulon wallet resume` goes on.
    UnderWay = 4,
}

/// The same numbers as `verify` uses them.
impl Exit {
    /// The evidence proves a breach.
    pub const BREACH: Exit = Exit::Usage;
    /// The evidence says too little.
    pub const NOT_ENOUGH: Exit = Exit::Refused;
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that ends with a code of its own.
#[derive(Debug)]
pub struct Ends(pub Exit, pub String);

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.1)
    }
}

impl std::error::Error for Ends {}

/// The code of an error: what it says itself, or what a party's refusal means.
pub fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(Ends(exit, _)) = cause.downcast_ref() {
            return *exit;
        }
        if let Some(CallError::Problem(_)) = cause.downcast_ref() {
            return Exit::Refused;
        }
        if let Some(DriverError::Call(CallError::Problem(_))) = cause.downcast_ref() {
            return Exit::Refused;
        }
        if let Some(DriverError::Wallet(error)) = cause.downcast_ref() {
            return of_wallet(error);
        }
        if let Some(error) = cause.downcast_ref::<WalletError>() {
            return of_wallet(error);
        }
    }
    Exit::Failed
}

/// What to do about an error, where it can be guessed.
pub fn advice(error: &anyhow::Error) -> &'static str {
    let unreachable = |cause: &(dyn std::error::Error + 'static)| {
        let of_driver = matches!(cause.downcast_ref(), Some(DriverError::Call(CallError::Unreachable(..))));
        of_driver || matches!(cause.downcast_ref(), Some(CallError::Unreachable(..)))
    };
    if error.chain().any(unreachable) { "; is its server running?" } else { "" }
}

/// What a wallet refuses by itself is a refusal; that it cannot be read or written is a failure.
fn of_wallet(error: &WalletError) -> Exit {
    use WalletError::{Damaged, Exists, NoWallet, Reopen, Store};
    match error {
        Store(_) | Reopen | NoWallet | Exists | Damaged(_) => Exit::Failed,
        _ => Exit::Refused,
    }
}
