//! Bank, directory and three mixes in one folder, each a server of its own on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use naulon_directory::{Directory, DirectoryFront, Rules, SqliteStore};
use naulon_exchange::{BalanceQuery, EarlyClose, OpenAccount};
use naulon_mix::SqliteReader;
use naulon_money::Amount;
use naulon_proxy::Snapshot;
use naulon_statement::{PublicKey, SecretKey, Signed, Unverified};
use naulon_tick::Close;
use naulon_wire::{BankCall, BankReply, Circuit, Clients, DirectoryCall};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::town::{Place, any, passphrase, serve_shared};
use crate::clock::now;
use crate::config::{At, BankListen, BankSettings, MixSettings, Span};
use crate::identity::{Identity, Role};
use crate::output::Output;
use crate::parties::account_fares::{AccountFares, Made};
use crate::parties::brand_keys::BrandKeys;
use crate::parties::folder::random;
use crate::parties::mix_room::{self, KEY_FILE, KEY_LEN, MixKeys, STORE_FILE};
use crate::parties::serving::{self, KnownAs};
use crate::parties::{PartyFolder, bank_room, proxy};

/// What a block costs at each mix.
const PRICE: &str = "0.000001";
/// How many mixes there are: as many as a path has.
pub const MIXES: usize = 3;
/// How long the mixes may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// One mix.
pub struct RunningMix {
    /// What runs.
    pub room: Arc<mix_room::Room>,
    /// Its key at the bank.
    pub payee: Arc<SecretKey>,
    folder: PartyFolder,
    running: JoinHandle<()>,
}

impl RunningMix {
    /// Whether its store knows that everything is cashed: it is written behind.
    fn is_written(&self) -> anyhow::Result<bool> {
        let kept = SqliteReader::open(&self.folder.path(STORE_FILE))?.all()?;
        Ok(kept.iter().all(|kept| kept.cashed.index == kept.earned))
    }
}

/// Everything that runs.
pub struct Chain {
    /// The bank.
    pub bank: Identity,
    /// The directory.
    pub directory: Identity,
    /// The mixes in their order; the last one lets streams out.
    pub mixes: Vec<RunningMix>,
    /// What pays.
    pub fares: Arc<AccountFares>,
    account: Arc<SecretKey>,
    bank_front: Arc<naulon_bank::BankFront>,
    servers: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Chain {
    /// Makes and starts everything in folders that begin with this name, and opens an account with this much in it. With
    /// `is_contract` the mixes are one provider's, and one of them is paid for all.
    pub async fn build(
        place: &Place,
        name: &str,
        is_contract: bool,
        funds: Amount,
        output: Output,
    ) -> anyhow::Result<Chain> {
        let (stop, stopping) = watch::channel(false);
        let at_bank = serving::listen(any()?).await?;
        let at_directory = serving::listen(any()?).await?;
        let bank = make_bank(place, name, at_bank.local_addr()?, output)?;
        let settings: BankSettings = place.folder(&format!("{name}-bank")).settings()?;
        let bank_front =
            bank_room::start(&place.folder(&format!("{name}-bank")), &settings, &passphrase()?, output)?.front;
        let mut servers = vec![serve_shared::<BankCall, _>(at_bank, Arc::clone(&bank_front), stopping.clone())];

        let key = SecretKey::from_seed(&*random::<32>()?);
        let url = format!("http://{}", at_directory.local_addr()?);
        let directory = Identity::new(Role::Directory, key.public(), url);
        let made = make_mixes(place, (name, is_contract), &bank, &directory).await?;
        let rules = Rules {
            mixes: made.iter().map(|mix| mix.keys.mix.public()).collect(),
            parties: vec![bank.to_string()],
            valid: naulon_statement::Duration::seconds(3_600),
        };
        let store = SqliteStore::open(&place.path(&format!("{name}-directory.sqlite")))?;
        let front = DirectoryFront::start(Directory::new(key, rules, store)?);
        servers.push(serve_shared::<DirectoryCall, _>(at_directory, Arc::new(front), stopping));
        let mut mixes = Vec::new();
        for mix in made {
            mixes.push(mix.start().await?);
        }
        let account = Arc::new(SecretKey::from_seed(&*random::<32>()?));
        let currency = BankSettings::default().currency.parse()?;
        let fares = Arc::new(AccountFares::new(Arc::clone(&account), &bank, currency)?);
        let chain = Chain { bank, directory, mixes, fares, account, bank_front, servers, stop };
        chain.open_account().await?;
        let operator = bank_room::operator(&place.folder(&format!("{name}-bank")), &passphrase()?)?;
        let currency = BankSettings::default().currency;
        crate::parties::credit(&chain.bank, &operator, &currency, (chain.account.public(), funds), "demo").await?;
        Ok(chain)
    }

    async fn open_account(&self) -> anyhow::Result<()> {
        let open = OpenAccount { bank: self.bank.key, account: self.account.public() };
        let client = Clients::default().on(Circuit::Identified(self.account.public()), self.bank.address()?)?;
        client.call(&BankCall::OpenAccount(Unverified::from(&Signed::sign(&self.account, open)))).await?;
        Ok(())
    }

    /// What is in the account of this key; nothing if there is none.
    pub async fn balance(&self, key: &SecretKey) -> anyhow::Result<Amount> {
        let query = BalanceQuery { bank: self.bank.key, account: key.public(), at: now() };
        let client = Clients::default().on(Circuit::Identified(key.public()), self.bank.address()?)?;
        match client.call(&BankCall::Balance(Unverified::from(&Signed::sign(key, query)))).await? {
            BankReply::Balance(balance) => Ok(balance),
            _ => anyhow::bail!("the bank answers another question"),
        }
    }

    /// What is left in the payer's account.
    pub async fn funds(&self) -> anyhow::Result<Amount> {
        self.balance(&self.account).await
    }

    /// The whole list of the directory, once all mixes are on it and have seen it.
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let snapshot = proxy::first_snapshot(&self.directory, &Clients::default()).await?;
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.mixes.iter().all(|mix| mix.room.handle.neighbours() >= MIXES) {
            ensure!(tokio::time::Instant::now() < until, "the mixes do not find one another");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(snapshot)
    }

    /// Waits until all sessions are over, and cashes everything.
    pub async fn cash(&self) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + PATIENCE;
        for mix in &self.mixes {
            loop {
                mix.room.handle.cash(true).await;
                let (sessions, uncashed) = {
                    let mix = mix.room.handle.mix();
                    (mix.sessions(), mix.uncashed())
                };
                if sessions == 0 && uncashed == 0 && mix.is_written()? {
                    break;
                }
                let is_late = tokio::time::Instant::now() > until;
                ensure!(!is_late, "{sessions} sessions and {uncashed} ticks are left at a mix");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// What a mix has cashed so far: ticks, and what they paid to itself.
    pub fn earned(&self, at: usize) -> anyhow::Result<(u64, Amount)> {
        let earnings = SqliteReader::open(&self.mixes[at].folder.path(STORE_FILE))?.earnings()?;
        Ok(earnings.first().map_or((0, Amount::ZERO), |earned| (earned.ticks, earned.cashed)))
    }

    /// How many blocks a mix has forwarded and billed.
    pub fn billed(&self, at: usize) -> u64 {
        self.mixes[at].room.handle.mix().billed()
    }

    /// Has the mixes let go of what checks have left, and takes it back. Gives how much that was.
    pub async fn take_back(&self, checks: &[Made]) -> anyhow::Result<Amount> {
        let mut back = Amount::ZERO;
        for made in checks {
            let mix = self.mixes.iter().find(|mix| mix.payee.public() == made.check.payee);
            let mix = mix.context("a check for no mix")?;
            let kept = SqliteReader::open(&mix.folder.path(STORE_FILE))?.all()?;
            let commitment = made.check.commitment();
            let cashed = kept.iter().find(|kept| kept.check.commitment() == commitment);
            let index = cashed.map_or(0, |kept| kept.cashed.index);
            let worth = |ticks| made.check.worth(ticks).context("more than can be counted");
            let left =
                worth(made.check.length)?.checked_sub(worth(index)?).context("more was cashed than there was")?;
            if left.is_zero() {
                continue;
            }
            let close = Signed::sign(&mix.payee, Close { commitment, index });
            let early = EarlyClose { check: made.check.clone(), close: Unverified::from(&close) };
            self.fares.take_back(made, left, early).await?;
            back = back.checked_add(left).context("more than can be counted")?;
        }
        Ok(back)
    }

    /// Stops everything.
    pub async fn stop(self) -> anyhow::Result<()> {
        for mix in &self.mixes {
            mix.room.handle.stop().await;
            mix.running.abort();
        }
        // All of them listen; none has gone before.
        let _ = self.stop.send(true);
        for server in self.servers {
            server.await?;
        }
        tokio::task::spawn_blocking(move || self.bank_front.stop()).await??;
        Ok(())
    }
}

fn make_bank(place: &Place, name: &str, address: SocketAddr, output: Output) -> anyhow::Result<Identity> {
    let settings = BankSettings {
        listen: BankListen::at(At::Plain(address.to_string()), At::Plain(address.to_string())),
        denominations: vec!["1.00".to_owned()],
        ..BankSettings::default()
    };
    PartyFolder::create(&place.path(&format!("{name}-bank")), |folder| {
        bank_room::make(folder, settings, &KnownAs::default(), &passphrase()?, BrandKeys::New, output)
    })
}

/// A mix that does not run yet.
struct MadeMix {
    keys: MixKeys,
    settings: MixSettings,
    folder: PartyFolder,
    bank: PublicKey,
}

/// Three mixes. Under a contract the first one is paid, and pays the others by their shares.
async fn make_mixes(
    place: &Place,
    (name, is_contract): (&str, bool),
    bank: &Identity,
    directory: &Identity,
) -> anyhow::Result<Vec<MadeMix>> {
    let mut mixes = Vec::new();
    for number in 1..=MIXES {
        let settings = MixSettings {
            links: serving::listen(any()?).await?.local_addr()?.to_string(),
            name: format!("mix {number}"),
            price: PRICE.to_owned(),
            banks: vec![bank.to_string()],
            directories: vec![directory.to_string()],
            exit_ports: if number == MIXES { vec!["1-65535".to_owned()] } else { Vec::new() },
            exit_private: true,
            cash_within: Span(naulon_statement::Duration::seconds(3_600)),
            ..MixSettings::default()
        };
        let path = place.path(&format!("{name}-mix{number}"));
        let seal = |folder: &PartyFolder| folder.seal_random::<{ KEY_LEN }>(KEY_FILE, &passphrase()?);
        let keys = MixKeys::of(&*PartyFolder::create(&path, seal)?)?;
        mixes.push(MadeMix { keys, settings, folder: PartyFolder::open(&path), bank: bank.key });
    }
    let members = mixes
        .iter()
        .zip([2, 1, 1])
        .map(|(mix, share)| format!("{} {} {share}", mix.keys.mix.public(), mix.keys.payee(&bank.key).public()));
    let members: Vec<String> = members.collect();
    let provider = mixes.first().context("there are mixes")?.keys.mix.public().to_string();
    for mix in &mut mixes {
        if is_contract {
            mix.settings.members.clone_from(&members);
            mix.settings.provider.clone_from(&provider);
        }
        mix.settings.address.clone_from(&mix.settings.links);
        let identity = Identity::new(Role::Mix, mix.keys.mix.public(), format!("mix://{}", mix.settings.links));
        mix.folder.write_settings(&mix.settings)?;
        mix.folder.write_identity(&identity)?;
    }
    Ok(mixes)
}

impl MadeMix {
    async fn start(self) -> anyhow::Result<RunningMix> {
        let payee = Arc::new(self.keys.payee(&self.bank));
        let room = Arc::new(mix_room::open(&self.folder, &self.settings, self.keys).await?);
        let runs = Arc::clone(&room);
        let running = tokio::spawn(async move { drop(runs.run().await) });
        Ok(RunningMix { room, payee, folder: self.folder, running })
    }
}
