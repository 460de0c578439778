//! The bank's register as it runs: appended to, shown, and proven from.

use std::collections::{BTreeMap, BTreeSet};

use naulon_blind::Brand;
use naulon_durable::StoreError;
use naulon_exchange::Record;
use naulon_exchange::register::{
    BankIdentity, BrandDay, Day, DayItems, DaySummary, EntryKind, FeeTable, ITEM_CHUNK, ItemPromise, Neighbour,
    Receipt, RegisterCopy, RegisterEntry, Registered, Side, day_items, item_path,
};
use naulon_statement::{Digest, PublicKey, SecretKey, Signed, Unverified};
use naulon_tlog::{
    Checkpoint, CheckpointSigner, Hash, InclusionProof, PublicPath, Tree, WitnessPolicy, consistency_proof,
    read_public_tile,
};
use naulon_wire::publish::{PublishError, Publisher};
use naulon_wire::{Problem, PublicFile, PublicKind};

use crate::store::{DayKey, DeliveredPlace, RegisterAppending, RegisterRows, RegisterStore, StoredChunk, Written};

/// How often an append is made again because another process has appended meanwhile.
const MAX_APPENDS: usize = 8;
/// Records that are read in one step as a day is closed, so that calls are not kept waiting.
const PAGE: usize = 1_000;
/// Rows of items that are written in one transaction, 8 KiB each.
const CHUNKS: usize = 64;

/// The register in memory: all entries, the statements but for those of days, and the hashes of its tree.
pub(crate) struct Register {
    signer: CheckpointSigner,
    bank: PublicKey,
    entries: Vec<RegisterEntry>,
    known: BTreeSet<RegisterEntry>,
    tree: Tree,
    hashes: Vec<Hash>,
    checkpoint: String,
    /// The newest checkpoint that witnesses have cosigned, and its size.
    cosigned: Option<(u64, String)>,
    publisher: Option<Publisher>,
    brands: Vec<Unverified<Brand>>,
    fees: Vec<Unverified<FeeTable>>,
    /// The places of the days' sums; days follow one another.
    days: Vec<u64>,
    last: Option<DaySummary>,
    closing: Option<Closing>,
}

/// A day that is being closed.
struct Closing {
    day: Day,
    after: Option<DeliveredPlace>,
    items: BTreeMap<(Digest, Side), Vec<Digest>>,
}

/// Why a register cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The stored tree is not the one that was last signed. Operator: do not run this bank; keep the store. It was changed, or
    /// is a mixture of backups, and going on would contradict what the bank has signed.
    #[error("the register of {0} entries is not the one that was signed last; this store must not be used")]
    OtherTree(u64),
    /// The store was written with another checkpoint key. Operator: give the bank its own key, or its own store.
    #[error("the register was signed by another checkpoint key")]
    OtherKey,
    /// A tree of this size is not here.
    #[error("the register has no tree of {0} entries")]
    NoSuchTree(u64),
    /// Other processes appended each time.
    #[error("other processes have appended to the register each time; start again")]
    Raced,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Register {
    /// Reads the register of a store.
    pub(crate) fn load<S: RegisterStore>(
        signer: CheckpointSigner,
        bank: PublicKey,
        store: &mut S,
    ) -> Result<Self, RegisterError> {
        let mut register = Register {
            checkpoint: sign(&signer, &Tree::default()),
            signer,
            bank,
            entries: Vec::new(),
            known: BTreeSet::new(),
            tree: Tree::default(),
            hashes: Vec::new(),
            cosigned: None,
            publisher: None,
            brands: Vec::new(),
            fees: Vec::new(),
            days: Vec::new(),
            last: None,
            closing: None,
        };
        register.refresh(store)?;
        Ok(register)
    }

    /// How others recognise this bank.
    pub(crate) fn identity(&self) -> BankIdentity {
        BankIdentity { key: self.bank, checkpoints: self.signer.verifier().clone() }
    }

    /// From now on hands every new checkpoint to a publisher, which has it cosigned by the witnesses of the policy.
    pub(crate) fn publish_by(&mut self, policy: WitnessPolicy) -> Result<Publisher, PublishError> {
        let log = self.signer.verifier().clone();
        let cosigned = policy.accept(&log, &self.checkpoint).ok().filter(|_| !policy.is_unwitnessed());
        self.cosigned = cosigned.map(|cosigned| (self.tree.size(), cosigned.note().to_owned()));
        let kept = self.cosigned.as_ref().map(|(_, note)| note.as_str());
        let publisher = Publisher::new(log, policy, &self.checkpoint, kept)?;
        self.publisher = Some(publisher.clone());
        Ok(publisher)
    }

    /// The proof that the tree of `new` entries continues that of `old`.
    pub(crate) fn prove_growth(&self, old: u64, new: u64) -> Result<Vec<Hash>, RegisterError> {
        if new > self.tree.size() {
            return Err(RegisterError::NoSuchTree(new));
        }
        consistency_proof(old, new, &self.hashes).map_err(|_| RegisterError::NoSuchTree(old))
    }

    /// What is handed out to everybody: as far as witnesses have seen it, if there are any.
    pub(crate) fn copy(&self) -> RegisterCopy {
        let (size, checkpoint) = self.cosigned.clone().unwrap_or_else(|| (self.tree.size(), self.checkpoint.clone()));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        RegisterCopy {
            checkpoint,
            entries: self.entries.iter().take(size).copied().collect(),
            brands: self.brands.clone(),
            fees: self.fees.clone(),
        }
    }

    /// The fee table in force.
    pub(crate) fn fees(&self) -> Option<&FeeTable> {
        self.fees.last().map(Unverified::claimed_body)
    }

    /// Whether a statement stands in it.
    pub(crate) fn holds<T: Registered>(&self, statement: &Signed<T>) -> bool {
        self.known.contains(&RegisterEntry::of(statement))
    }

    /// Takes what other processes have appended.
    pub(crate) fn refresh<S: RegisterStore>(&mut self, store: &mut S) -> Result<(), RegisterError> {
        let RegisterRows { size, checkpoint, entries } = store.register(self.tree.size())?;
        let Some(note) = checkpoint else {
            return if size == 0 { Ok(()) } else { Err(RegisterError::OtherTree(size)) };
        };
        if entries.is_empty() && note == self.checkpoint {
            return Ok(());
        }
        let signed = self.signer.verifier().open(&note).map_err(|_| RegisterError::OtherKey)?;
        let mut tree = self.tree.clone();
        let leaves: Vec<Hash> = entries.iter().map(|(entry, _)| entry.leaf()).collect();
        let hashes = tree.append(&leaves);
        let sound = |(entry, statement): &(RegisterEntry, Option<Vec<u8>>)| match (entry.kind(), statement) {
            (Some(kind), Some(statement)) => RegisterEntry::new(kind, statement) == *entry,
            _ => true,
        };
        if (tree.size(), tree.root(), size) != (signed.size, signed.root, tree.size()) || !entries.iter().all(sound) {
            return Err(RegisterError::OtherTree(size));
        }
        let first = self.tree.size();
        self.tree = tree;
        self.hashes.extend(hashes.into_iter().map(|(_, hash)| hash));
        self.checkpoint = note;
        if let Some(publisher) = &self.publisher {
            publisher.publish(&self.checkpoint);
        }
        let days = self.days.len();
        for ((entry, statement), place) in entries.into_iter().zip(first..) {
            self.take(entry, statement.as_deref(), place)?;
        }
        if self.days.len() > days {
            self.last = self.days.last().copied().map(|place| summary(store, place)).transpose()?;
        }
        Ok(())
    }

    /// Keeps a note that witnesses have cosigned. One that the register has outgrown meanwhile is handed out, and not written
    /// down; then this is false.
    pub(crate) fn keep_cosigned<S: RegisterStore>(&mut self, store: &mut S, note: &str) -> Result<bool, RegisterError> {
        let signed = self.signer.verifier().open(note).map_err(|_| RegisterError::OtherKey)?;
        let len = usize::try_from(signed.size).unwrap_or(usize::MAX).min(self.entries.len());
        let mut tree = Tree::default();
        tree.append(&self.entries[..len].iter().map(RegisterEntry::leaf).collect::<Vec<_>>());
        if (tree.size(), tree.root()) != (signed.size, signed.root) {
            return Err(RegisterError::OtherTree(signed.size));
        }
        self.cosigned = Some((signed.size, note.to_owned()));
        if signed.size != self.tree.size() || store.keep_cosigned(signed.size, note)? != Written::Yes {
            return Ok(false);
        }
        self.checkpoint = note.to_owned();
        Ok(true)
    }

    /// Appends what is wanted of the register as it is then. When it returns it is durable. Of processes that append at the
    /// same time one does; the others look again what is still wanted.
    pub(crate) fn append<S: RegisterStore>(
        &mut self,
        store: &mut S,
        wanted: impl Fn(&Self) -> Vec<(EntryKind, Vec<u8>)>,
    ) -> Result<(), RegisterError> {
        for _ in 0..MAX_APPENDS {
            let new = wanted(self);
            if new.is_empty() {
                return Ok(());
            }
            let mut tree = self.tree.clone();
            tree.append(&new.iter().map(|(kind, bytes)| RegisterEntry::new(*kind, bytes).leaf()).collect::<Vec<_>>());
            // Of a tree that loses, nobody ever sees the checkpoint.
            let checkpoint = sign(&self.signer, &tree);
            let written =
                store.append_register(&RegisterAppending { before: self.tree.size(), statements: new, checkpoint });
            let (Written::Yes | Written::Lost | Written::Unknown) = written?;
            self.refresh(store)?;
        }
        Err(RegisterError::Raced)
    }

    /// A public file.
    pub(crate) fn public<S: RegisterStore>(&self, store: &mut S, path: &str) -> Result<PublicFile, Problem> {
        let none = || Problem::new("not_found", format_args!("the bank has no {path}"));
        let unsound = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a public file of the register cannot be read");
            Problem::new("unavailable", "the bank cannot read its register now")
        };
        let (kind, bytes) = match PublicPath::of(path).ok_or_else(none)? {
            PublicPath::Checkpoint => {
                let newest = self.publisher.as_ref().map_or_else(|| self.checkpoint.clone(), Publisher::newest);
                (PublicKind::Checkpoint, newest.into_bytes())
            }
            PublicPath::Cosigned => {
                let (_, note) = self.cosigned.as_ref().ok_or_else(none)?;
                (PublicKind::Checkpoint, note.clone().into_bytes())
            }
            PublicPath::Tile(tile) => {
                let entries = |range: std::ops::Range<u64>| {
                    let [from, to] = [range.start, range.end].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                    let all = self.entries.get(from..to).unwrap_or_default();
                    Ok(all.iter().map(|entry| *entry.as_bytes()).collect())
                };
                let tile = read_public_tile(self.tree.size(), &tile, &self.hashes, entries);
                (PublicKind::Tile, tile.map_err(|error| unsound(&error))?.ok_or_else(none)?)
            }
            PublicPath::Body(index) => {
                let found = if index < self.tree.size() { store.register_statement(index) } else { Ok(None) };
                (PublicKind::Body, found.map_err(|error| unsound(&error))?.ok_or_else(none)?)
            }
        };
        Ok(PublicFile { kind, bytes: bytes.into() })
    }

    /// What can be shown of an item of a record that was delivered.
    pub(crate) fn receipt<S: RegisterStore>(
        &self,
        store: &mut S,
        record: &Record,
        side: Side,
        item: &Digest,
    ) -> Result<Option<Shown>, StoreError> {
        let Some((time, items)) = day_items(record) else { return Ok(None) };
        let Some((_, brand, _)) = items.iter().find(|(of, _, it)| (*of, it) == (side, item)) else { return Ok(None) };
        let (day, brand) = (Day::of(time), *brand);
        let Some(place) = self.place_of(day) else {
            return Ok(Some(Shown::Promise(ItemPromise { bank: self.bank, brand, day, side, item: *item })));
        };
        let statement = store.register_statement(place)?.ok_or(StoreError::Corrupt)?;
        let summary = Unverified::<DaySummary>::parse(&statement).map_err(|_| StoreError::Corrupt)?;
        Ok(Some(Shown::Receipt(find(store, &DayKey { day, brand, side }, item, summary)?)))
    }

    /// Does a part of what closing a day takes: reads some of its records, or, when all are read, sums it up.
    pub(crate) fn close_day<S: RegisterStore>(
        &mut self,
        store: &mut S,
        key: &SecretKey,
        day: Day,
    ) -> Result<(), RegisterError> {
        let closing = match self.closing.take() {
            Some(closing) if closing.day == day => closing,
            _ => Closing { day, after: None, items: BTreeMap::new() },
        };
        let closing = self.closing.insert(closing);
        let page = store.delivered(day.start()..day.end(), closing.after.as_ref(), PAGE)?;
        for (place, record) in &page {
            for (side, brand, item) in day_items(record).map(|(_, items)| items).unwrap_or_default() {
                closing.items.entry((brand, side)).or_default().push(item);
            }
            closing.after = Some(place.clone());
        }
        if page.len() == PAGE {
            return Ok(());
        }
        let items = self.closing.take().map(|closing| closing.items).unwrap_or_default();
        let brands = self.sum_up(store, day, items)?;
        let summary = Signed::sign(key, DaySummary { bank: self.bank, day, brands });
        self.append(store, |register| match register.place_of(day) {
            Some(_) => Vec::new(),
            None => vec![(EntryKind::Day, summary.bytes().to_vec())],
        })
    }

    /// The day that is to be summed up next; none before the first.
    pub(crate) fn next_day(&self) -> Option<Day> {
        self.last.as_ref().map(|last| last.day.next())
    }

    /// Where a day's sums stand, if it is summed up.
    fn place_of(&self, day: Day) -> Option<u64> {
        let last = self.last.as_ref()?.day;
        let back = usize::try_from(last.0.checked_sub(day.0)?).ok()?;
        self.days.get(self.days.len().checked_sub(back + 1)?).copied()
    }

    fn take(&mut self, entry: RegisterEntry, statement: Option<&[u8]>, place: u64) -> Result<(), RegisterError> {
        let unsound = |_| RegisterError::OtherTree(self.tree.size());
        match (entry.kind(), statement) {
            (Some(EntryKind::Brand), Some(bytes)) => self.brands.push(Unverified::parse(bytes).map_err(unsound)?),
            (Some(EntryKind::Fees), Some(bytes)) => self.fees.push(Unverified::parse(bytes).map_err(unsound)?),
            (Some(EntryKind::Day), _) => self.days.push(place),
            _ => return Err(RegisterError::OtherTree(self.tree.size())),
        }
        self.entries.push(entry);
        self.known.insert(entry);
        Ok(())
    }

    /// Writes the items down, and gives a row for each brand that is alive or of which something happened.
    fn sum_up<S: RegisterStore>(
        &self,
        store: &mut S,
        day: Day,
        mut items: BTreeMap<(Digest, Side), Vec<Digest>>,
    ) -> Result<Vec<BrandDay>, RegisterError> {
        let alive = |brand: &&Brand| brand.issue_from < day.end() && day.start() < brand.redeem_until;
        let mut brands: BTreeSet<Digest> = items.keys().map(|(brand, _)| *brand).collect();
        let stated = self.brands.iter().map(Unverified::claimed_body);
        brands.extend(stated.filter(alive).map(|brand| Digest(brand.key_id())));
        let mut rows = Vec::with_capacity(brands.len());
        for brand in brands {
            let mut side = |side| -> Result<DayItems, StoreError> {
                let of_side = DayItems::new(items.remove(&(brand, side)).unwrap_or_default());
                let key = DayKey { day, brand, side };
                let chunks = of_side.chunks().zip(0..).map(|(chunk, number)| StoredChunk { key, number, chunk });
                let chunks: Vec<StoredChunk> = chunks.collect();
                chunks.chunks(CHUNKS).try_for_each(|some| store.keep_chunks(some))?;
                Ok(of_side)
            };
            let (issued, redeemed) = (side(Side::Issued)?, side(Side::Redeemed)?);
            let (issued_before, redeemed_before) = self.totals(store, &brand)?;
            rows.push(BrandDay {
                brand,
                issued: issued.count(),
                issued_root: issued.root(),
                redeemed: redeemed.count(),
                redeemed_root: redeemed.root(),
                issued_total: issued_before.saturating_add(issued.count()),
                redeemed_total: redeemed_before.saturating_add(redeemed.count()),
            });
        }
        Ok(rows)
    }

    /// What was issued and redeemed of a brand by the last day that has a row for it. Of one that is alive that is the last
    /// day; a purchase that is settled after its brand's redeem-until makes one look further back.
    fn totals<S: RegisterStore>(&self, store: &mut S, brand: &Digest) -> Result<(u64, u64), StoreError> {
        let of = |row: &BrandDay| (row.issued_total, row.redeemed_total);
        if let Some(row) = self.last.as_ref().and_then(|last| last.brand(brand)) {
            return Ok(of(row));
        }
        let stated = self.brands.iter().map(Unverified::claimed_body).find(|stated| Digest(stated.key_id()) == *brand);
        let first = stated.map(|brand| Day::of(brand.issue_from)).unwrap_or(Day(0));
        for place in self.days.iter().rev() {
            let summary = summary(store, *place)?;
            if let Some(row) = summary.brand(brand) {
                return Ok(of(row));
            }
            if summary.day < first {
                break;
            }
        }
        Ok((0, 0))
    }
}

/// What the bank shows for an item: a promise that is still to be signed, or a receipt.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Promise(ItemPromise),
    Receipt(Receipt),
}

fn sign(signer: &CheckpointSigner, tree: &Tree) -> String {
    let origin = signer.verifier().origin().to_owned();
    match signer.sign(&Checkpoint { origin, size: tree.size(), root: tree.root() }) {
        Ok(signed) => signed.into_string(),
        // The only refusal is another origin than the signer's, and this one is its own.
        Err(never) => unreachable!("signing a checkpoint failed: {never}"),
    }
}

fn summary<S: RegisterStore>(store: &mut S, place: u64) -> Result<DaySummary, StoreError> {
    let bytes = store.register_statement(place)?.ok_or(StoreError::Corrupt)?;
    let parsed = Unverified::<DaySummary>::parse(&bytes).map_err(|_| StoreError::Corrupt)?;
    Ok(parsed.claimed_body().clone())
}

/// The item's place in its day, or its neighbours.
fn find<S: RegisterStore>(
    store: &mut S,
    key: &DayKey,
    item: &Digest,
    summary: Unverified<DaySummary>,
) -> Result<Receipt, StoreError> {
    let roots = store.chunk_roots(key)?;
    let size = summary.claimed_body().brand(&key.brand).map_or(0, |row| row.side(key.side).0);
    let at = |chunk: u64, place: usize, items: &[Digest]| -> Result<Neighbour, StoreError> {
        let number = usize::try_from(chunk).map_err(|_| StoreError::Corrupt)?;
        let path = item_path(items, place, &roots, number).ok_or(StoreError::Corrupt)?;
        let index = chunk * ITEM_CHUNK as u64 + place as u64;
        Ok(Neighbour { item: items[place], proof: InclusionProof { index, size, path } })
    };
    let Some(chunk) = store.chunk_of(key, item)? else {
        // It would be the first.
        let above = store.chunk(key, 0)?.map(|items| at(0, 0, &items)).transpose()?;
        return Ok(Receipt::Missing { summary, below: None, above });
    };
    let items = store.chunk(key, chunk)?.ok_or(StoreError::Corrupt)?;
    match items.binary_search(item) {
        Ok(place) => Ok(Receipt::Shown { summary, proof: at(chunk, place, &items)?.proof }),
        Err(0) => Err(StoreError::Corrupt),
        Err(place) => {
            let below = Some(at(chunk, place - 1, &items)?);
            let above = match items.get(place) {
                Some(_) => Some(at(chunk, place, &items)?),
                None => store.chunk(key, chunk + 1)?.map(|next| at(chunk + 1, 0, &next)).transpose()?,
            };
            Ok(Receipt::Missing { summary, below, above })
        }
    }
}
