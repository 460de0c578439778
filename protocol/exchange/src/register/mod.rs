//! A bank's register: its public list of brands, fee tables and daily sums, a C2SP tlog of its own.
//!
//! A brand exists only as an entry of it. Whoever reads the whole list ([`RegisterCopy::read`]) knows that everybody sees
//! the same brands, if witnesses that she trusts have cosigned its checkpoint, and that there is one for each place; else a
//! bank could give one person a key of her own, and know her by it. Each day's sums ([`DaySummary`]) say what was issued and
//! redeemed, and fix it: an item that was promised ([`ItemPromise`]) and is missing under the day's root convicts the bank
//! ([`Receipt::judge`]).
//!
//! Bytes: `docs/spec/register.md`.

mod copy;
mod day;
mod entry;
mod evidence;
mod receipt;
mod watch;

pub use copy::{Logged, ReadRegister, RegisterCopy, RegisterMemory, RegisterRefusal, Rivals};
pub use day::{
    BrandDay, Day, DayItem, DayItems, DaySummary, ITEM_CHUNK, ItemChunk, Side, day_items, exchange_items, issued_item,
    item_path, redeemed_item,
};
pub use entry::{EntryKind, FeeTable, REGISTER_ENTRY_LEN, RegisterEntry, Registered};
pub use evidence::{RegisterBreach, RegisterEvidence, RegisterJudgement};
pub use receipt::{ItemPromise, Neighbour, Receipt, ReceiptError, Verdict};
pub use watch::{DayFault, DayWatch};

use naulon_statement::PublicKey;
use naulon_tlog::CheckpointVerifier;

/// How a bank is recognised: by its statement key and the key of its register's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankIdentity {
    /// Signs brands and everything else; its name in statements.
    pub key: PublicKey,
    /// Verifies the register's checkpoints (a key of its own, C2SP signed note).
    pub checkpoints: CheckpointVerifier,
}
