//! Reading a whole register.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use minicbor::{Decode, Encode};
use naulon_blind::{Brand, BrandError};
use naulon_statement::{Digest, Signed, StatementError, Timestamp, Unverified};
use naulon_tlog::{CosignedError, Hash, Tree, WitnessPolicy};

use super::BankIdentity;
use super::entry::{EntryKind, FeeTable, RegisterEntry, Registered};
use super::evidence::RegisterEvidence;

/// A register as a bank hands it out: all of it, the same for everybody, so that asking for it says nothing. The statements
/// of days are left out; a checkpoint fixes them all the same.
#[derive(Clone, Debug)]
pub struct RegisterCopy {
    /// The newest checkpoint, with the witnesses' lines.
    pub checkpoint: String,
    /// All entries.
    pub entries: Vec<RegisterEntry>,
    /// The brands. Those that the checkpoint does not cover yet may be among them.
    pub brands: Vec<Unverified<Brand>>,
    /// The fee tables.
    pub fees: Vec<Unverified<FeeTable>>,
}

/// What a reader remembers of a register, so that it is never shown another one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterMemory {
    /// How many entries there were.
    #[n(1)]
    pub size: u64,
    /// The root over them.
    #[n(2)]
    pub root: Digest,
    /// The signed and cosigned checkpoint, which is evidence if another one contradicts it.
    #[n(3)]
    pub note: String,
}

/// A statement that stands in its bank's register. Only [`RegisterCopy::read`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged<T>(Signed<T>);

impl<T> Logged<T> {
    /// The statement.
    pub fn into_inner(self) -> Signed<T> {
        self.0
    }
}

impl<T> Deref for Logged<T> {
    type Target = Signed<T>;

    fn deref(&self) -> &Signed<T> {
        &self.0
    }
}

/// A register that was read whole, and holds.
#[derive(Clone, Debug)]
pub struct ReadRegister {
    /// What to remember.
    pub memory: RegisterMemory,
    /// Its brands, in the order of their entries.
    pub brands: Vec<Logged<Brand>>,
    /// Its fee tables, in the order of their entries.
    pub fees: Vec<Logged<FeeTable>>,
    /// Brands that were handed out and that the checkpoint does not cover: not accepted, perhaps later.
    pub not_yet: usize,
    /// Where the sums of the last day stand, and what must be served there: [`DaySummary::of_entry`](super::DaySummary).
    pub last_day: Option<(u64, RegisterEntry)>,
    /// Entries of brands and fee tables that make no sense: used by nobody.
    pub senseless: Vec<(u64, Senseless)>,
}

/// Two brands that cannot both be: signed by their bank, they convict it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rivals {
    /// The one.
    pub first: Signed<Brand>,
    /// The other.
    pub second: Signed<Brand>,
}

/// Why an entry of the register names nothing that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    /// It is not signed by the bank.
    #[error("not the bank's statement: {0}")]
    Signature(#[from] StatementError),
    /// It names another bank.
    #[error("it names another bank")]
    Foreign,
    /// The brand makes no sense.
    #[error(transparent)]
    Brand(#[from] BrandError),
}

/// Why a register is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefusal {
    /// Its checkpoint is not the bank's, or too few witnesses have cosigned it.
    #[error("the checkpoint of the bank's register: {0}")]
    Checkpoint(#[from] CosignedError),
    /// The entries are not those of the checkpoint.
    #[error("the entries are not those of the checkpoint")]
    OtherEntries,
    /// It ends before what was seen already. Perhaps an old copy: ask again later.
    #[error("a register of {shown} entries was shown, and {seen} were seen already")]
    Older {
        /// How many were seen.
        seen: u64,
        /// How many it has.
        shown: u64,
    },
    /// It does not go on from what was seen. The two checkpoints convict the bank, and the witnesses under both.
    #[error("the bank shows another register than before")]
    Forked {
        /// The checkpoint that was seen.
        seen: String,
        /// The one that was shown now.
        shown: String,
    },
    /// A brand or fee table that stands in it is not shown, so nobody can say that there is one for each place.
    #[error("entry {0} of the register is not shown")]
    Withheld(u64),
    /// Two brands for one place, or under one key: one of them could be somebody's own.
    #[error("the bank has two brands of the same denomination for the same time, or under one key")]
    Rivals(Box<Rivals>),
}

impl RegisterRefusal {
    /// What convicts the bank by its own signatures, if this does. `shown` is the register that was refused.
    pub fn evidence(&self, shown: &RegisterCopy) -> Option<RegisterEvidence> {
        match self {
            RegisterRefusal::Forked { seen, shown: note } => Some(RegisterEvidence {
                checkpoints: vec![seen.clone(), note.clone()],
                entries: shown.entries.clone(),
                ..RegisterEvidence::default()
            }),
            RegisterRefusal::Rivals(rivals) => Some(RegisterEvidence {
                brands: vec![rivals.first.bytes().to_vec(), rivals.second.bytes().to_vec()],
                ..RegisterEvidence::default()
            }),
            RegisterRefusal::Checkpoint(_)
            | RegisterRefusal::OtherEntries
            | RegisterRefusal::Older { .. }
            | RegisterRefusal::Withheld(_) => None,
        }
    }
}

impl RegisterCopy {
    /// Checks the register: signed and cosigned, whole, going on from what is remembered, with one brand for each currency,
    /// denomination, purpose and time. Only then it says what stands in it.
    pub fn read(
        &self,
        bank: &BankIdentity,
        policy: &WitnessPolicy,
        seen: Option<&RegisterMemory>,
    ) -> Result<ReadRegister, RegisterRefusal> {
        let cosigned = policy.accept(&bank.checkpoints, &self.checkpoint)?;
        let (size, root) = (cosigned.checkpoint().size, cosigned.checkpoint().root);
        if self.entries.len() as u64 != size || self.root_of(self.entries.len()) != root {
            return Err(RegisterRefusal::OtherEntries);
        }
        if let Some(seen) = seen {
            self.check_goes_on(seen, size)?;
        }
        let (brands, mut senseless) = self.logged(&self.brands, bank, |brand: &Brand| Ok(brand.check()?))?;
        let (fees, other) = self.logged(&self.fees, bank, |_: &FeeTable| Ok(()))?;
        senseless.extend(other);
        if let Some(rivals) = rivals(&brands) {
            return Err(RegisterRefusal::Rivals(Box::new(rivals)));
        }
        let known: BTreeSet<&RegisterEntry> = self.entries.iter().collect();
        let entry = |brand: &Unverified<Brand>| RegisterEntry::new(EntryKind::Brand, brand.bytes());
        let not_yet = self.brands.iter().filter(|brand| !known.contains(&entry(brand))).count();
        let memory = RegisterMemory { size, root: Digest(root), note: self.checkpoint.clone() };
        let days = self.entries.iter().zip(0..).filter(|(entry, _)| entry.kind() == Some(EntryKind::Day));
        let last_day = days.last().map(|(entry, index)| (index, *entry));
        Ok(ReadRegister { memory, brands, fees, not_yet, last_day, senseless })
    }

    fn check_goes_on(&self, seen: &RegisterMemory, size: u64) -> Result<(), RegisterRefusal> {
        if size < seen.size {
            return Err(RegisterRefusal::Older { seen: seen.size, shown: size });
        }
        let begins = usize::try_from(seen.size).is_ok_and(|len| Digest(self.root_of(len)) == seen.root);
        let forked = || RegisterRefusal::Forked { seen: seen.note.clone(), shown: self.checkpoint.clone() };
        begins.then_some(()).ok_or_else(forked)
    }

    /// The root over the first entries.
    fn root_of(&self, len: usize) -> Hash {
        let leaves: Vec<Hash> = self.entries.iter().take(len).map(RegisterEntry::leaf).collect();
        let mut tree = Tree::default();
        tree.append(&leaves);
        tree.root()
    }

    /// The statements of all entries of a kind.
    #[expect(clippy::type_complexity, reason = "two lists, named where they are used")]
    fn logged<T: Registered + Clone + OfBank>(
        &self,
        shown: &[Unverified<T>],
        bank: &BankIdentity,
        check: impl Fn(&T) -> Result<(), Senseless>,
    ) -> Result<(Vec<Logged<T>>, Vec<(u64, Senseless)>), RegisterRefusal> {
        let shown: BTreeMap<RegisterEntry, &Unverified<T>> =
            shown.iter().map(|statement| (RegisterEntry::new(T::KIND, statement.bytes()), statement)).collect();
        let (mut logged, mut senseless, mut met) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (entry, index) in self.entries.iter().zip(0..) {
            if entry.kind() != Some(T::KIND) || !met.insert(entry) {
                continue;
            }
            let statement = shown.get(entry).ok_or(RegisterRefusal::Withheld(index))?;
            match sound(statement, bank, &check) {
                Ok(signed) => logged.push(Logged(signed)),
                Err(why) => senseless.push((index, why)),
            }
        }
        Ok((logged, senseless))
    }
}

impl ReadRegister {
    /// The fees that are charged at a time: those of the last table that has begun by then.
    pub fn fees_at(&self, now: Timestamp) -> Option<&FeeTable> {
        self.fees
            .iter()
            .filter(|table| table.from <= now)
            .max_by_key(|table| table.from)
            .map(|logged| &**logged.deref())
    }
}

/// A statement that names the bank that makes it.
trait OfBank {
    fn bank(&self) -> &naulon_statement::PublicKey;
}

impl OfBank for Brand {
    fn bank(&self) -> &naulon_statement::PublicKey {
        &self.bank
    }
}

impl OfBank for FeeTable {
    fn bank(&self) -> &naulon_statement::PublicKey {
        &self.bank
    }
}

fn sound<T: Registered + Clone + OfBank>(
    statement: &Unverified<T>,
    bank: &BankIdentity,
    check: impl Fn(&T) -> Result<(), Senseless>,
) -> Result<Signed<T>, Senseless> {
    let signed = statement.clone().verify(&bank.key)?;
    if *signed.bank() != bank.key {
        return Err(Senseless::Foreign);
    }
    check(&signed)?;
    Ok(signed)
}

/// Whether two brands cannot both be: they stand for the same money at the same time, or have one key.
pub(super) fn are_rivals(a: &Brand, b: &Brand) -> bool {
    let same = a.currency == b.currency && a.denomination == b.denomination && a.purpose == b.purpose;
    let at_once = a.issue_from < b.withdraw_until && b.issue_from < a.withdraw_until;
    a != b && (same && at_once || a.key == b.key)
}

/// Two of these brands that stand for the same money at the same time, or have one key.
fn rivals(brands: &[Logged<Brand>]) -> Option<Rivals> {
    let mut by_key: BTreeMap<[u8; 32], &Logged<Brand>> = BTreeMap::new();
    let mut by_place: BTreeMap<_, &Logged<Brand>> = BTreeMap::new();
    let pair = |a: &Logged<Brand>, b: &Logged<Brand>| Rivals { first: a.0.clone(), second: b.0.clone() };
    for brand in brands {
        if let Some(other) = by_key.insert(brand.key_id(), brand) {
            return Some(pair(other, brand));
        }
        let place = (brand.currency.clone(), brand.denomination, brand.purpose, brand.issue_from);
        if let Some(other) = by_place.insert(place, brand) {
            return Some(pair(other, brand));
        }
    }
    // By place and time: if any two overlap, two neighbours do.
    let neighbours = by_place.values().zip(by_place.values().skip(1));
    let overlap = |(a, b): (&&Logged<Brand>, &&Logged<Brand>)| {
        let same = a.currency == b.currency && a.denomination == b.denomination && a.purpose == b.purpose;
        (same && b.issue_from < a.withdraw_until).then(|| pair(a, b))
    };
    neighbours.into_iter().find_map(overlap)
}
