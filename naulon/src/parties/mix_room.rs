//! A mix in its folder: keys, rules, the directories, epochs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_mix::{Batching, Exit, InternetExit, Mix, MixHandle, MixRules, NoExit, SqliteStore, TickStore};
use naulon_onion::{Contract, Descriptor, EpochKey, ExitPolicy, KEM_X25519, Listing, Member, Payee, Ports, Shape};
use naulon_statement::{PublicKey, SecretKey, Signed, Timestamp, derive_secret};
use naulon_wire::link::LinkKey;
use naulon_wire::{Circuit, Client, Clients, DirectoryCall, DirectoryReply, MixCall, MixReply, Problem, Service};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use super::folder::{PartyFolder, random};
use crate::clock::now;
use crate::config::MixSettings;
use crate::identity::{self, Identity, Role};

/// The sealed secret.
pub const KEY_FILE: &str = "mix.key";
/// The store.
pub const STORE_FILE: &str = "mix.sqlite";
/// How long the secret is.
pub const KEY_LEN: usize = 32;

/// How often a mix looks what mixes there are.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it does so as long as a directory does not list it.
const LOOK_SOON: Duration = Duration::from_millis(500);
/// How far behind the clock of somebody may be who uses a new hop key.
const SKEW: naulon_statement::Duration = naulon_statement::Duration::seconds(60);

/// What a mix signs and proves itself with.
pub struct MixKeys {
    /// Its name.
    pub mix: SecretKey,
    link: LinkKey,
    master: Zeroizing<[u8; KEY_LEN]>,
}

impl MixKeys {
    /// The keys of this secret. At each bank the mix has another one.
    pub fn of(secret: &[u8; KEY_LEN]) -> anyhow::Result<MixKeys> {
        let derived = |label: &[u8]| {
            let mut seed = Zeroizing::new([0; 32]);
            derive_secret(secret, &[b"naulon/mix/1", label], &mut seed[..]);
            seed
        };
        Ok(MixKeys {
            mix: SecretKey::from_seed(&derived(b"mix")),
            link: LinkKey::from_seed(&derived(b"link")).context("the link's key")?,
            master: Zeroizing::new(*secret),
        })
    }

    /// Its key at a bank.
    pub fn payee(&self, bank: &PublicKey) -> SecretKey {
        let mut seed = Zeroizing::new([0; 32]);
        derive_secret(&*self.master, &[b"naulon/mix/1", b"payee", bank.as_bytes()], &mut seed[..]);
        SecretKey::from_seed(&seed)
    }
}

/// What the settings say.
pub fn rules(settings: &MixSettings, keys: &MixKeys) -> anyhow::Result<MixRules> {
    let batching: Batching = settings.batching.parse().context("the setting batching")?;
    let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
    ensure!(!banks.is_empty(), "the setting banks names none; a mix that no bank pays forwards nothing");
    Ok(MixRules {
        mix: keys.mix.public(),
        shape: Shape::STANDARD,
        price: settings.price.parse().context("the setting price")?,
        currency: settings.currency.parse().context("the setting currency")?,
        window: settings.window,
        replies: settings.replies,
        banks: banks.iter().map(|bank| (bank.key, Arc::new(keys.payee(&bank.key)))).collect(),
        contract: contract(settings)?,
        is_exit: !settings.exit_ports.is_empty(),
        batching,
        cash_within: settings.cash_within.0,
    })
}

fn contract(settings: &MixSettings) -> anyhow::Result<Option<Contract>> {
    if settings.members.is_empty() {
        return Ok(None);
    }
    // A member is named by its account at one bank.
    anyhow::ensure!(settings.banks.len() == 1, "a chain's mixes are paid at one bank: the setting banks names several");
    let member = |line: &String| -> anyhow::Result<Member> {
        let mut words = line.split_whitespace();
        let (Some(mix), Some(account), Some(share), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            anyhow::bail!("the setting members: {line:?} is not KEY ACCOUNT SHARE");
        };
        Ok(Member { mix: mix.parse()?, account: account.parse()?, share: share.parse()? })
    };
    let members = settings.members.iter().map(member).collect::<anyhow::Result<Vec<_>>>()?;
    let first = members.first().map(|member| member.mix).context("a chain has members")?;
    let paying =
        if settings.paying.is_empty() { first } else { settings.paying.parse().context("the setting paying")? };
    let provider = settings.provider.parse().context("the setting provider")?;
    Ok(Some(Contract { provider, paying, members }))
}

fn exit_policy(settings: &MixSettings) -> anyhow::Result<Option<ExitPolicy>> {
    let port = |text: &str| text.trim().parse::<u16>().with_context(|| format!("the setting exit_ports: {text}"));
    let range = |text: &String| -> anyhow::Result<Ports> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Ports { first: port(first)?, last: port(last)? })
    };
    let ports = settings.exit_ports.iter().map(range).collect::<anyhow::Result<Vec<_>>>()?;
    Ok((!ports.is_empty()).then_some(ExitPolicy { ports, is_private: settings.exit_private }))
}

/// A mix that runs.
pub struct Room {
    /// The engine with its sockets.
    pub handle: MixHandle,
    /// What the operator asks.
    pub front: MixFront,
    /// Where its links come in.
    pub address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    /// The epoch that began last.
    epoch: AtomicU32,
    settings: MixSettings,
    keys: MixKeys,
    directories: Vec<(PublicKey, Client)>,
    banks: Vec<Identity>,
}

/// Answers the operator.
#[derive(Clone)]
pub struct MixFront(Arc<Mutex<Option<Signed<Descriptor>>>>);

impl Service<MixCall> for MixFront {
    async fn call(&self, call: MixCall) -> Result<MixReply, Problem> {
        let MixCall::Describe = call;
        let descriptor = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let none = || Problem::new("unavailable", "the mix has no descriptor yet");
        descriptor.map(|descriptor| MixReply::Descriptor(Box::new((&descriptor).into()))).ok_or_else(none)
    }
}

/// Opens the mix of a folder: its store, its links, the way to banks and directories.
pub async fn open(folder: &PartyFolder, settings: &MixSettings, keys: MixKeys) -> anyhow::Result<Room> {
    let rules = rules(settings, &keys)?;
    let (shape, clients) = (rules.shape, Clients::default());
    let banks = identity::pinned(&settings.banks, Role::Bank, "banks")?;
    let mut bank_clients = BTreeMap::new();
    for bank in &banks {
        let circuit = Circuit::Identified(keys.payee(&bank.key).public());
        bank_clients.insert(bank.key, clients.on(circuit, bank.address()?)?);
    }
    let mut directories = Vec::new();
    for directory in identity::pinned(&settings.directories, Role::Directory, "directories")? {
        let circuit = Circuit::Identified(keys.mix.public());
        directories.push((directory.key, clients.on(circuit, directory.address()?)?));
    }
    let store = SqliteStore::open(&folder.path(STORE_FILE))?;
    let mix = Mix::new(rules, store.all()?, &*random::<32>()?, now());
    let clock = Arc::new(now);
    let start = |exit: Box<dyn Exit>| MixHandle::start(mix, store, keys.link.clone(), exit, bank_clients, clock);
    let handle = match exit_policy(settings)? {
        Some(policy) => start(Box::new(InternetExit::new(policy, shape))),
        None => start(Box::new(NoExit)),
    };
    let listener = TcpListener::bind(&settings.links).await.with_context(|| format!("links: {}", settings.links))?;
    let address = listener.local_addr()?;
    let front = MixFront(Arc::default());
    let (settings, listener) = (settings.clone(), Mutex::new(Some(listener)));
    let epoch = AtomicU32::new(0);
    let room = Room { handle, front, address, listener, epoch, settings, keys, directories, banks };
    room.begin_epoch()?;
    Ok(room)
}

impl Room {
    /// Takes up a new hop key, and signs a descriptor with it.
    fn begin_epoch(&self) -> anyhow::Result<()> {
        let begin = now();
        // Seconds: no epoch has the number of another, also over a restart.
        let seconds = u32::try_from(begin.0 / 1_000).context("the clock")?;
        let epoch = seconds.max(self.epoch.load(Ordering::Acquire).saturating_add(1));
        self.epoch.store(epoch, Ordering::Release);
        let public = self.handle.mix().begin_epoch(epoch, &*random::<32>()?);
        // The key opens for one more epoch, so that whoever has an old list is not shut out.
        let until = begin.plus(self.settings.epoch.0).plus(self.settings.epoch.0);
        // Clocks that are behind take it, too.
        let from = begin.minus(SKEW);
        let key = EpochKey { epoch, kem: KEM_X25519, key: public.key, from, until };
        let descriptor = Signed::sign(&self.keys.mix, self.descriptor(key, from, until)?);
        descriptor.check().context("the settings make no descriptor")?;
        *self.front.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(descriptor);
        Ok(())
    }

    fn descriptor(&self, key: EpochKey, from: Timestamp, until: Timestamp) -> anyhow::Result<Descriptor> {
        let rules = rules(&self.settings, &self.keys)?;
        let payees: BTreeSet<Payee> =
            rules.banks.iter().map(|(bank, payee)| Payee { bank: *bank, payee: payee.public() }).collect();
        Ok(Descriptor {
            mix: rules.mix,
            name: self.settings.name.clone(),
            address: if self.settings.address.is_empty() {
                self.address.to_string()
            } else {
                self.settings.address.clone()
            },
            link: self.keys.link.public(),
            block: u32::try_from(rules.shape.block())?,
            hop_keys: vec![key],
            price: rules.price,
            currency: rules.currency,
            payees: payees.into_iter().collect(),
            window: rules.window,
            replies: rules.replies,
            exit: exit_policy(&self.settings)?,
            contract: rules.contract,
            from,
            until,
        })
    }

    /// Runs everything that runs beside the operator's door. It ends only by trouble.
    pub async fn run(&self) -> anyhow::Error {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(listener) = listener else { return anyhow::anyhow!("the mix runs already") };
        tokio::select! {
            served = self.handle.serve(listener) => match served {
                Ok(()) => anyhow::anyhow!("the links have ended"),
                Err(error) => error.into(),
            },
            error = self.rotate() => error,
            () = self.keep_up() => anyhow::anyhow!("the directories have ended"),
        }
    }

    async fn rotate(&self) -> anyhow::Error {
        loop {
            let until = tokio::time::Instant::now() + Duration::from_millis(self.settings.epoch.0.0.max(1_000));
            loop {
                tokio::time::sleep(LOOK_SOON).await;
                if tokio::time::Instant::now() >= until || self.handle.mix().is_epoch_full() {
                    break;
                }
            }
            if let Err(error) = self.begin_epoch() {
                return error.context("a new epoch");
            }
        }
    }

    /// Opens accounts, registers, and looks which mixes there are.
    async fn keep_up(&self) {
        self.open_accounts().await;
        let mut registered: BTreeMap<PublicKey, Vec<u8>> = BTreeMap::new();
        loop {
            let descriptor = self.front.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut mixes: BTreeMap<PublicKey, Descriptor> = BTreeMap::new();
            for (name, client) in &self.directories {
                if let Some(descriptor) = &descriptor
                    && registered.get(name).map(Vec::as_slice) != Some(descriptor.bytes())
                {
                    match client.call(&DirectoryCall::Register(descriptor.into())).await {
                        Ok(_) => drop(registered.insert(*name, descriptor.bytes().to_vec())),
                        Err(error) => tracing::warn!(%error, "a directory does not list this mix"),
                    }
                }
                match list(client, name).await {
                    Ok(listed) => {
                        for mix in listed {
                            mixes.entry(mix.mix).or_insert(mix);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "a directory's list is not taken"),
                }
            }
            if !mixes.is_empty() {
                self.handle.know(&mixes.values().cloned().collect::<Vec<_>>());
            }
            let is_known = registered.len() == self.directories.len() && mixes.len() > 2;
            tokio::time::sleep(if is_known { LOOK_EVERY } else { LOOK_SOON }).await;
        }
    }

    async fn open_accounts(&self) {
        for bank in &self.banks {
            let key = self.keys.payee(&bank.key);
            let Ok(address) = bank.address() else { continue };
            let client = Clients::default().on(Circuit::Identified(key.public()), address);
            if let Ok(client) = client {
                naulon_mix::open_account(&client, &key, &bank.key).await;
            }
        }
    }
}

/// The mixes that a directory lists now, all of them verified.
async fn list(client: &Client, name: &PublicKey) -> anyhow::Result<Vec<Descriptor>> {
    let DirectoryReply::List(list) = client.call(&DirectoryCall::List).await? else {
        anyhow::bail!("an answer to another question");
    };
    let (_, mixes) = Listing::verify(*list, name, now())?;
    Ok(mixes.into_iter().map(Signed::into_body).collect())
}
