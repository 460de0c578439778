//! `naulon purse …`

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use naulon_blind::{Brand, IssuerSecret, KnownBrand, Purpose, SEED_LEN};
use naulon_durable::sealed::{Cost, SEAL_ENTROPY_LEN};
use naulon_exchange::{Exchange, Input, OpenAccount, Output as Wanted};
use naulon_money::Amount;
use naulon_purse::{KeyRing, Purse, SqliteStore};
use naulon_statement::{Digest, Joint, PublicKey, SecretKey, Signed, Unverified, UnverifiedJoint};
use naulon_wire::{BankCall, BankReply, Circuit, Clients};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::PartyFolder;
use super::folder::random;
use super::serving;
use crate::clock;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::output::{self, Output};
use crate::passphrase::PassphraseFrom;

mod talk;

use talk::{Answer, Ask};

const SEED_FILE: &str = "purse-seed.key";
const KEYS_FILE: &str = "purse-keys.key";
const ACCOUNT_FILE: &str = "account.key";
const BRANDS_FILE: &str = "brands.cbor";
const STORE_FILE: &str = "purse.sqlite";
const SOCKET: &str = "purse.sock";
/// The longest question or answer, one line.
const MAX_LINE: u64 = 64 * 1024;
/// What a purse in software says of itself.
const DEMONSTRATION: &str = "a purse in software is a demonstration: whoever copies its folder has its money twice";

/// `naulon purse …`
#[derive(Debug, Subcommand)]
#[command(after_help = "\
An electronic purse (MixPay §5.2): loaded on-line from an account, it makes checks off-line, never beyond its balance. It is a
process of its own, which others reach by the socket in its folder. Its folder is ./purse unless --dir says otherwise.
A purse in software is a demonstration: whoever copies its folder has its money twice.

The bank needs brands of purse checks (the setting purse_checks: what a check is worth in all). Its keys are put into the
device by whoever has the bank's folder.

Examples:
  NAULON_BANK_PURSE_CHECKS='[\"1.00\"]' naulon bank serve        # from the next period's brands on
  naulon purse init --bank-folder bank
  naulon purse serve &
  naulon purse show                                            # its account: `naulon bank credit` pays into it
  naulon purse load --amount 5
  naulon purse check --payee KEY --value 0.001 --length 1000   # off-line")]
pub enum PurseCommand {
    /// Make a purse: its folder, seed, account, and the keys that sign its checks
    Init(Init),
    /// Run the purse until Ctrl-C or SIGTERM
    Serve(Folder),
    /// Load it from its account at the bank
    Load(Load),
    /// Make out a check, off-line
    Check(Make),
    /// Print what it holds
    Status(Folder),
    /// Print its bank and its account
    Show(Folder),
}

/// The folder of a purse.
#[derive(Debug, Args)]
pub struct Folder {
    /// The purse's folder.
    #[arg(long, value_name = "DIR", default_value = "purse")]
    dir: PathBuf,
}

/// `naulon purse init`
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    folder: Folder,
    /// The folder of its bank, which has the keys of the brands of purse checks. The passphrase is that of both.
    #[arg(long, value_name = "DIR")]
    bank_folder: PathBuf,
}

/// `naulon purse load`
#[derive(Debug, Args)]
pub struct Load {
    #[command(flatten)]
    folder: Folder,
    /// How much: a multiple of what a check is worth in all.
    #[arg(long, value_name = "AMOUNT")]
    amount: Amount,
    /// For checks of this total; needed if the purse has keys for several.
    #[arg(long, value_name = "AMOUNT")]
    total: Option<Amount>,
}

/// `naulon purse check`
#[derive(Debug, Args)]
pub struct Make {
    #[command(flatten)]
    folder: Folder,
    /// Who may cash it: a key at the bank.
    #[arg(long, value_name = "KEY")]
    payee: PublicKey,
    /// What each tick pays.
    #[arg(long, value_name = "AMOUNT")]
    value: Amount,
    /// How many ticks.
    #[arg(long, value_name = "N")]
    length: u32,
    /// Names the check: asked by the same 32 hexadecimal digits, it is the same one. The default is random.
    #[arg(long, value_name = "HEX")]
    wish: Option<String>,
}

impl PurseCommand {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        match self {
            PurseCommand::Init(init) => serving::runtime()?.block_on(init.run(passphrase, output)),
            PurseCommand::Serve(folder) => folder.serve(passphrase, output),
            PurseCommand::Load(load) => serving::runtime()?.block_on(load.run(passphrase, output)),
            PurseCommand::Check(make) => serving::runtime()?.block_on(make.run(output)),
            PurseCommand::Status(folder) => serving::runtime()?.block_on(folder.status(output)),
            PurseCommand::Show(folder) => folder.show(passphrase, output),
        }
    }
}

impl Init {
    async fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let passphrase = passphrase.open("the bank's keys and the purse's")?;
        let bank = PartyFolder::open(&self.bank_folder);
        let identity = bank.identity()?;
        let brands = brands_of(&identity).await?;
        ensure!(!brands.is_empty(), "the bank has no brands of purse checks: set purse_checks, and start it again");
        let mut secrets = Vec::new();
        for key in super::brand_keys::all(&bank, &passphrase)? {
            if brands.iter().any(|brand| brand.key_id() == *key.public().key_id()) {
                secrets.push(key);
            }
        }
        ensure!(secrets.len() == brands.len(), "the bank's folder has not the keys of all its brands of purse checks");
        let account = PartyFolder::create(&self.folder.dir, |folder| {
            folder.seal_random::<SEED_LEN>(SEED_FILE, &passphrase)?;
            let account = folder.seal_random::<32>(ACCOUNT_FILE, &passphrase)?;
            let (path, entropy) = (folder.path(KEYS_FILE), random::<SEAL_ENTROPY_LEN>()?);
            naulon_bank::KeyRing::create_file(&path, &passphrase, Cost::default(), &secrets, &entropy)?;
            std::fs::write(folder.path(BRANDS_FILE), naulon_statement::cbor::to_vec(&brands))?;
            folder.write_identity(&identity)?;
            Ok(SecretKey::from_seed(&account))
        })?;
        let open = OpenAccount { bank: identity.key, account: account.public() };
        let client = Clients::default().on(Circuit::Identified(account.public()), identity.address()?)?;
        client.call(&BankCall::OpenAccount(Unverified::from(&Signed::sign(&account, open)))).await?;
        let made = serde_json::json!({
            "dir": self.folder.dir.display().to_string(), "account": account.public().to_string(), "demonstration": true,
        });
        output.result(&made, |_| {
            format!(
                "purse made in {}, account {} at its bank; {DEMONSTRATION}",
                self.folder.dir.display(),
                account.public()
            )
        })?;
        Ok(Exit::Ok)
    }
}

/// The bank's brands of purse checks, by its own word.
async fn brands_of(bank: &Identity) -> anyhow::Result<Vec<Brand>> {
    let client = Clients::default().on(Circuit::Anonymous(0), bank.address()?)?;
    let BankReply::Description(description) = client.call(&BankCall::Describe).await? else {
        bail!("the bank answers another question")
    };
    let signed = description.register.brands.into_iter().filter_map(|brand| brand.verify(&bank.key).ok());
    Ok(signed.map(|brand| Brand::clone(&brand)).filter(|brand| brand.purpose == Purpose::PurseCheck).collect())
}

impl Folder {
    fn open(&self, passphrase: PassphraseFrom) -> anyhow::Result<Purse<SqliteStore>> {
        let folder = PartyFolder::open(&self.dir);
        let passphrase = passphrase.open("the purse")?;
        let seed = folder.unseal::<SEED_LEN>(SEED_FILE, &passphrase)?;
        let keys: Vec<IssuerSecret> = super::brand_keys::of_file(&folder.path(KEYS_FILE), &passphrase)?;
        let brands: Vec<Brand> = naulon_statement::cbor::from_slice(&std::fs::read(folder.path(BRANDS_FILE))?)
            .context("the purse's brands cannot be read")?;
        let brands = brands.into_iter().map(KnownBrand::new).collect::<Result<Vec<_>, _>>()?;
        let store = SqliteStore::open(&folder.path(STORE_FILE))?;
        Ok(Purse::open(*seed, brands, Box::new(KeyRing::new(keys)), store)?)
    }

    fn serve(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let purse = Arc::new(Mutex::new(self.open(passphrase)?));
        serving::runtime()?.block_on(async {
            let path = self.dir.join(SOCKET);
            // The store has one owner, so a socket that is left over is nobody's.
            let _ = std::fs::remove_file(&path);
            // The folder is its owner's alone.
            let listener = UnixListener::bind(&path).with_context(|| path.display().to_string())?;
            let ready = serde_json::json!({ "ready": true, "role": "purse", "demonstration": true });
            output.result(&ready, |_| format!("purse ready, stop with Ctrl-C; {DEMONSTRATION}"))?;
            let stop = naulon_wire::serve::stop_signal();
            tokio::pin!(stop);
            loop {
                tokio::select! {
                    () = &mut stop => break,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted?;
                        tokio::spawn(answer(stream, Arc::clone(&purse)));
                    }
                }
            }
            let _ = std::fs::remove_file(&path);
            anyhow::Ok(())
        })?;
        Ok(Exit::Ok)
    }

    async fn status(&self, output: Output) -> anyhow::Result<Exit> {
        let Answer::Status { brands } = self.ask(&Ask::Status).await? else {
            bail!("the purse answers another question")
        };
        output.result(&serde_json::json!({ "brands": brands, "demonstration": true }), |_| {
            let rows = brands.iter().map(|brand| {
                let until = clock::utc(naulon_statement::Timestamp(brand.until));
                vec![brand.total.clone(), brand.balance.clone(), brand.currency.clone(), until]
            });
            output::table(&["a check is worth", "loaded", "currency", "until"], rows, &[0, 1])
        })?;
        Ok(Exit::Ok)
    }

    fn show(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.dir);
        let account = SecretKey::from_seed(&*folder.unseal::<32>(ACCOUNT_FILE, &passphrase.open("the purse")?)?);
        let bank = folder.identity()?;
        let (bank, account) = (bank.to_string(), account.public().to_string());
        output.result(&serde_json::json!({ "bank": bank, "account": account }), |_| {
            output::list([("bank", bank.clone()), ("account", account.clone())])
        })?;
        Ok(Exit::Ok)
    }

    /// Asks the running purse.
    async fn ask(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let path = self.dir.join(SOCKET);
        let stream = UnixStream::connect(&path).await;
        let mut stream = stream.context("the purse does not run: start it with `naulon purse serve`")?;
        stream.write_all(format!("{}\n", serde_json::to_string(ask)?).as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        match serde_json::from_str(&line).context("the purse gives no answer")? {
            Answer::Refused { code, words } => bail!("the purse refuses ({code}): {words}"),
            answer => Ok(answer),
        }
    }
}

/// Answers one question after the other, each when what it rests on is on the disk.
async fn answer(stream: UnixStream, purse: Arc<Mutex<Purse<SqliteStore>>>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(tokio::io::AsyncReadExt::take(reader, MAX_LINE)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let purse = Arc::clone(&purse);
        let answered = tokio::task::spawn_blocking(move || {
            let mut purse = purse.lock().unwrap_or_else(PoisonError::into_inner);
            talk::answer(&mut purse, &line, clock::now())
        });
        let Ok(answer) = answered.await else { return };
        let Ok(text) = serde_json::to_string(&answer) else { return };
        if writer.write_all(format!("{text}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

impl Load {
    async fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let folder = PartyFolder::open(&self.folder.dir);
        let account = SecretKey::from_seed(&*folder.unseal::<32>(ACCOUNT_FILE, &passphrase.open("the purse")?)?);
        let bank = folder.identity()?;
        let number = hex::encode(*random::<16>()?);
        let ask = Ask::Load { total: self.total, amount: self.amount, number };
        let Answer::Asked { brand, currency, number } = self.folder.ask(&ask).await? else {
            bail!("the purse answers another question")
        };
        let (brand, number) = (Digest(talk::bytes(&brand)?), talk::bytes::<16>(&number)?);
        // The purse's number is the order, too: a repeated load is paid once.
        let exchange = Exchange {
            bank: bank.key,
            currency: currency.parse()?,
            inputs: vec![Input::Account { account: account.public(), amount: self.amount, order: number }],
            outputs: vec![Wanted::Load { brand, amount: self.amount, number }],
            condition: None,
            seal_to: None,
        };
        let call = BankCall::Exchange(UnverifiedJoint::from(Joint::sign(exchange, [&account])));
        let client = Clients::default().on(Circuit::Identified(account.public()), bank.address()?)?;
        let BankReply::Exchange(reply) = client.call(&call).await? else { bail!("the bank answers another question") };
        let word = reply.loads.first().context("the bank gives no word for the load")?;
        let answer = self.folder.ask(&Ask::Credit { word: hex::encode(word.bytes()) }).await?;
        let Answer::Credited { balance } = answer else { bail!("the purse answers another question") };
        output.result(&serde_json::json!({ "loaded": self.amount.to_string(), "balance": balance }), |_| {
            format!("loaded {}; the purse holds {balance} for such checks", self.amount)
        })?;
        Ok(Exit::Ok)
    }
}

impl Make {
    async fn run(&self, output: Output) -> anyhow::Result<Exit> {
        let wish = self.wish.clone().map_or_else(|| Ok(hex::encode(*random::<16>()?)), anyhow::Ok)?;
        let ask = Ask::Make { wish, payee: self.payee.to_string(), value: self.value, length: self.length };
        let answer = self.folder.ask(&ask).await?;
        let Answer::Made(made) = &answer else { bail!("the purse answers another question") };
        output.result(made, |made| {
            output::list([
                ("check", made.commitment.clone()),
                ("worth", made.total.clone()),
                ("shown to the payee", made.shown.clone()),
            ])
        })?;
        Ok(Exit::Ok)
    }
}
