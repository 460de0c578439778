//! Follows any public log (C2SP tlog-tiles): fetches its checkpoint and new entries, and recomputes the tree, so that it
//! finds every tree that does not continue the one it knows.
//!
//! In its folder are `entries` (every entry, u16be length ‖ entry) and `checkpoint` (the newest note that they give), and
//! in `looked-at` how many of them were looked at. Entries are on the disk before the checkpoint is, so whatever happens the two agree. It keeps the tree's hashes in memory: 64
//! bytes an entry.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use naulon_purchase::LogEvidence;
use naulon_tlog::{
    Checkpoint, CheckpointVerifier, Hash, InclusionProof, TILE_WIDTH, TileKind, TilePath, Tree, WitnessPolicy,
    decode_bundle, encode_bundle, inclusion_proof, leaf_hash, prefix_proof,
};
use naulon_wire::log::COSIGNED;
use naulon_wire::{BankCall, BankReply, CallError, Client, LogCall, LogReply};

use super::finding::{Findings, Shown};
use super::pace::Pace;

const CHECKPOINT: &str = "/checkpoint";
const ENTRIES_FILE: &str = "entries";
const CHECKPOINT_FILE: &str = "checkpoint";
const LOOKED_AT_FILE: &str = "looked-at";

/// Whose public files they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A purchase log's.
    Log,
    /// The register's of a bank, under the prefix `/register`.
    Bank,
}

/// A log as far as it was followed.
pub struct Follower {
    client: Client,
    keeper: Keeper,
    verifier: CheckpointVerifier,
    policy: WitnessPolicy,
    /// Checkpoints that others were shown.
    others: Vec<String>,
    folder: PathBuf,
    pace: Pace,
    entries: Vec<Vec<u8>>,
    tree: Tree,
    hashes: Vec<Hash>,
    /// The newest checkpoint whose tree this is; none at the very beginning.
    newest: Option<(String, Checkpoint)>,
}

impl Follower {
    /// Goes on where the folder is, or begins.
    pub fn open(
        (client, keeper): (Client, Keeper),
        verifier: CheckpointVerifier,
        folder: &Path,
        policy: WitnessPolicy,
        others: Vec<String>,
        slow: Duration,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let (tree, pace) = (Tree::default(), Pace::new(slow));
        let (entries, hashes, newest) = (Vec::new(), Vec::new(), None);
        let folder = folder.to_owned();
        let mut follower =
            Follower { client, keeper, verifier, policy, others, folder, pace, entries, tree, hashes, newest };
        follower.remember()?;
        Ok(follower)
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.verifier.origin()
    }

    /// All entries that are in the tree of the newest checkpoint.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// How many entries were looked at before, by whoever knows what they mean.
    pub fn looked_at(&self) -> anyhow::Result<u64> {
        let path = self.folder.join(LOOKED_AT_FILE);
        if !path.exists() {
            return Ok(0);
        }
        let count: u64 = fs::read_to_string(&path)?.trim_end().parse().with_context(|| path.display().to_string())?;
        Ok(count.min(self.entries.len() as u64))
    }

    /// Writes down how many entries were looked at.
    pub fn write_looked_at(&self, count: u64) -> anyhow::Result<()> {
        self.replace(LOOKED_AT_FILE, format!("{count}\n").as_bytes())
    }

    /// The newest checkpoint's note, and the proof that this entry is in its tree.
    pub fn prove(&self, index: u64) -> anyhow::Result<(String, InclusionProof)> {
        let (note, checkpoint) = self.newest.as_ref().context("nothing is known of the log yet")?;
        let path = inclusion_proof(checkpoint.size, index, &self.hashes)?;
        Ok((note.clone(), InclusionProof { index, size: checkpoint.size, path }))
    }

    /// Looks at the log: what it shows, what the witnesses cosigned, what others were shown. What is new is among the entries
    /// afterwards.
    pub async fn look(&mut self, found: &mut Findings) -> anyhow::Result<()> {
        // It is fetched first, so that the newest is not older.
        let cosigned = self.cosigned_note(found).await?;
        let newest = self.newest_note(found).await?;
        self.take(&newest, found).await?;
        for note in cosigned.into_iter().chain(self.others.clone()) {
            self.compare(&note, found)?;
        }
        Ok(())
    }

    /// A public file; none if there is none.
    pub async fn file(&self, path: &str) -> anyhow::Result<Option<Bytes>> {
        let answer = match self.keeper {
            Keeper::Log => match self.client.call(&LogCall::Public(path.to_owned())).await {
                Ok(LogReply::Public(file)) => Ok(Some(file.bytes)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            },
            Keeper::Bank => match self.client.call(&BankCall::Public(path.to_owned())).await {
                Ok(BankReply::Public(file)) => Ok(Some(file.bytes)),
                Ok(_) => Ok(None),
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => bail!("the log answers with something else than {path}"),
            Err(CallError::Problem(problem)) if problem.status == 404 || problem.detail.contains("status 404") => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The newest checkpoint. A slow answer is asked for again at once, so that it is certain whether the log is slow.
    async fn newest_note(&mut self, found: &mut Findings) -> anyhow::Result<String> {
        loop {
            let begun = Instant::now();
            let answer = self.file(CHECKPOINT).await;
            self.pace.take(begun.elapsed());
            if let Some(times) = self.pace.finding() {
                let seconds: Vec<String> = times.iter().map(|time| format!("{} ms", time.as_millis())).collect();
                let what = format!("{} answers in a row took {}", times.len(), seconds.join(", "));
                found.add("slow", "", what, &Shown::Seen("measured by this watcher".to_owned()))?;
            } else if self.pace.is_in_doubt() {
                continue;
            }
            let Some(bytes) = answer.context("the log's checkpoint")? else {
                bail!("the log has no {CHECKPOINT}");
            };
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }

    /// The checkpoint that witnesses have cosigned, if some are wanted and enough have.
    async fn cosigned_note(&self, found: &mut Findings) -> anyhow::Result<Option<String>> {
        if self.policy.is_unwitnessed() {
            return Ok(None);
        }
        let Some(bytes) = self.file(COSIGNED).await.context("the log's cosigned checkpoint")? else {
            let what = "the log shows no checkpoint that witnesses have cosigned".to_owned();
            found.add("not_cosigned", "", what, &Shown::Seen(String::new()))?;
            return Ok(None);
        };
        let note = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(error) = self.policy.accept(&self.verifier, &note) {
            let what = format!("the cosigned checkpoint is not what the witnesses vouch for: {error}");
            found.add("not_cosigned", &note, what, &Shown::Seen(note.clone()))?;
            return Ok(None);
        }
        Ok(Some(note))
    }

    /// Takes the newest checkpoint: follows the log to it, or compares it with the tree that is known.
    async fn take(&mut self, note: &str, found: &mut Findings) -> anyhow::Result<()> {
        let checkpoint = match self.verifier.open(note) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let what = format!("what the log shows as its checkpoint is none: {error}");
                return found.add("bad_checkpoint", note, what, &Shown::Seen(note.to_owned()));
            }
        };
        match self.newest.as_ref().map(|(known_note, known)| (known_note.clone(), known.size)) {
            Some((known_note, known)) if checkpoint.size < known => {
                let what = format!("the log shows {} entries, and has shown {known} before", checkpoint.size);
                if self.compare(note, found)? {
                    found.add("shrunk", note, what, &Shown::Seen(format!("{note}\n{known_note}")))?;
                }
                Ok(())
            }
            Some((_, known)) if checkpoint.size == known => self.compare(note, found).map(drop),
            _ => self.grow(note, checkpoint, found).await,
        }
    }

    /// Compares a checkpoint that the log signed, for whomever, with the tree that is known. False if it is another tree.
    fn compare(&self, note: &str, found: &mut Findings) -> anyhow::Result<bool> {
        let checkpoint = self.verifier.open(note)?;
        let (known_note, known) = self.newest.as_ref().context("nothing is known of the log yet")?;
        if checkpoint.size > known.size {
            let (theirs, ours) = (checkpoint.size, known.size);
            let what = format!("the log shows {ours} entries here, and has shown {theirs} to others");
            found.add("withheld", note, what, &Shown::Seen(note.to_owned()))?;
            return Ok(true);
        }
        if checkpoint.root == Tree::open(checkpoint.size, &self.hashes)?.root() {
            return Ok(true);
        }
        let prefix = match checkpoint.size {
            size if size == known.size => Vec::new(),
            size => prefix_proof(size, known.size, &self.hashes)?,
        };
        let what = format!("the log signed two trees of {} entries", checkpoint.size);
        let checkpoints = vec![known_note.clone(), note.to_owned()];
        let shown = Shown::Log(LogEvidence { checkpoints, prefix, entries: Vec::new() });
        found.add("two_trees", &format!("{checkpoint:?}"), what, &shown)?;
        Ok(false)
    }

    /// Fetches the new entries, and takes them if they and the known ones are the tree of this checkpoint.
    async fn grow(&mut self, note: &str, checkpoint: Checkpoint, found: &mut Findings) -> anyhow::Result<()> {
        let old = self.tree.size();
        let entries = self.fetch_entries(old, checkpoint.size).await?;
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut tree = self.tree.clone();
        let hashes = tree.append(&leaves);
        if tree.root() != checkpoint.root {
            return self.show_another_tree(note, &checkpoint, found).await;
        }
        self.write_down(note, &entries)?;
        self.hashes.extend(hashes.into_iter().map(|(_, hash)| hash));
        self.tree = tree;
        self.entries.extend(entries);
        self.newest = Some((note.to_owned(), checkpoint));
        Ok(())
    }

    /// The new checkpoint's tree does not continue the known one, or the log serves entries that are not in it. The hashes
    /// of the tree itself say which.
    async fn show_another_tree(
        &mut self,
        note: &str,
        checkpoint: &Checkpoint,
        found: &mut Findings,
    ) -> anyhow::Result<()> {
        let leaves = self.fetch_leaves(checkpoint.size).await?;
        let mut tree = Tree::default();
        let hashes: Vec<Hash> = tree.append(&leaves).into_iter().map(|(_, hash)| hash).collect();
        let about = format!("{checkpoint:?}");
        if tree.root() != checkpoint.root {
            let what = format!("the {} hashes that the log serves are not the tree that it signed", checkpoint.size);
            return found.add("wrong_tiles", &about, what, &Shown::Seen(note.to_owned()));
        }
        let known = self.newest.clone().filter(|(_, known)| known.size > 0);
        if let Some((known_note, known)) = known {
            let prefix = prefix_proof(known.size, checkpoint.size, &hashes)?;
            if Tree::open(known.size, &hashes)?.root() != known.root {
                let (old, new) = (known.size, checkpoint.size);
                let what =
                    format!("the log has rewritten its tree: its {new} entries do not begin with the {old} before");
                let checkpoints = vec![known_note, note.to_owned()];
                let shown = Shown::Log(LogEvidence { checkpoints, prefix, entries: Vec::new() });
                return found.add("two_trees", &about, what, &shown);
            }
        }
        let what = "the entries that the log serves are not those of its tree".to_owned();
        found.add("wrong_entries", &about, what, &Shown::Seen(note.to_owned()))
    }

    async fn fetch_entries(&self, from: u64, to: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut entries = Vec::new();
        let mut next = from;
        while next < to {
            let bytes = self.tile(TileKind::Entries, next, to).await?;
            let bundle = decode_bundle(&bytes).context("a bundle of entries")?;
            let first = usize::try_from(next % TILE_WIDTH as u64)?;
            let missing =
                bundle.get(first..).filter(|rest| !rest.is_empty()).context("a bundle of entries is too short")?;
            entries.extend(missing.iter().map(|entry| entry.to_vec()));
            next += missing.len() as u64;
        }
        ensure!(next == to, "a bundle of entries is too long");
        Ok(entries)
    }

    async fn fetch_leaves(&self, to: u64) -> anyhow::Result<Vec<Hash>> {
        let mut leaves: Vec<Hash> = Vec::new();
        while (leaves.len() as u64) < to {
            let bytes = self.tile(TileKind::Hashes { level: 0 }, leaves.len() as u64, to).await?;
            ensure!(!bytes.is_empty() && bytes.len() % 32 == 0, "a tile of hashes is cut off");
            leaves.extend(bytes.chunks_exact(32).filter_map(|hash| Hash::try_from(hash).ok()));
        }
        ensure!(leaves.len() as u64 == to, "a tile of hashes is too long");
        Ok(leaves)
    }

    /// The tile that holds this place, as far as a tree of so many entries reaches.
    async fn tile(&self, kind: TileKind, place: u64, size: u64) -> anyhow::Result<Bytes> {
        let index = place / TILE_WIDTH as u64;
        let width = usize::try_from((size - index * TILE_WIDTH as u64).min(TILE_WIDTH as u64))?;
        let path = TilePath::new(kind, index, width)?;
        self.file(&format!("/{path}")).await?.with_context(|| format!("the log does not serve its {path}"))
    }

    /// Reads the folder. Entries beyond the checkpoint were written just before the program ended; they are left out.
    fn remember(&mut self) -> anyhow::Result<()> {
        let path = self.folder.join(CHECKPOINT_FILE);
        if !path.exists() {
            return Ok(());
        }
        let shown = path.display();
        let note = fs::read_to_string(&path)?;
        let checkpoint = self.verifier.open(&note);
        let checkpoint =
            checkpoint.with_context(|| format!("{shown} is another log's: name another folder by --state"))?;
        let mut bytes = Vec::new();
        File::open(self.folder.join(ENTRIES_FILE)).and_then(|mut file| file.read_to_end(&mut bytes))?;
        let (mut rest, mut kept) = (bytes.as_slice(), 0);
        while (self.entries.len() as u64) < checkpoint.size {
            let (len, tail) = rest.split_first_chunk().with_context(|| format!("{shown}: entries are missing"))?;
            let len = usize::from(u16::from_be_bytes(*len));
            let (entry, tail) = tail.split_at_checked(len).with_context(|| format!("{shown}: entries are missing"))?;
            self.entries.push(entry.to_vec());
            kept += 2 + len as u64;
            rest = tail;
        }
        OpenOptions::new().write(true).open(self.folder.join(ENTRIES_FILE))?.set_len(kept)?;
        let leaves: Vec<Hash> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        self.hashes = self.tree.append(&leaves).into_iter().map(|(_, hash)| hash).collect();
        ensure!(self.tree.root() == checkpoint.root, "{shown} and the entries beside it do not belong together");
        self.newest = Some((note, checkpoint));
        Ok(())
    }

    fn write_down(&self, note: &str, entries: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join(ENTRIES_FILE))?;
        for bundle in entries.chunks(TILE_WIDTH) {
            file.write_all(&encode_bundle(bundle)?)?;
        }
        file.sync_all()?;
        self.replace(CHECKPOINT_FILE, note.as_bytes())
    }

    /// A file that was kept in the folder.
    pub fn kept(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(name)).ok()
    }

    /// Keeps a file in the folder.
    pub fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        self.replace(name, content)
    }

    /// Writes a file whole, in the place of the one before.
    fn replace(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, self.folder.join(name))?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }
}
