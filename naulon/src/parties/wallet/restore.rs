//! `naulon wallet restore` and `naulon wallet backup …`

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use naulon_wallet::{GAP_LIMIT, Restored, Words};
use zeroize::Zeroizing;

use super::lines::line;
use super::room::{self, Room, Went};
use super::{Folder, with_proxy};
use crate::clock::now;
use crate::config::{SETTINGS_FILE, Span, WalletSettings};
use crate::exit::Exit;
use crate::identity::{self, Identity, Role};
use crate::output::{self, Output};
use crate::parties::PartyFolder;
use crate::passphrase::PassphraseFrom;

/// How long each round of a restoration's questions takes, if the person says nothing else.
const OVER: &str = "1h";
/// The longest line of words that is read, in bytes.
const MAX_WORDS_LEN: usize = 1_024;

/// What `--fast` gives up.
const FAST: &str = "--fast: all questions are asked at once. Whoever sees them (the bank, and who watches the line) sees at a \
    glance that they belong together, and so which withdrawals and which payments are one person's.";

/// `naulon wallet restore`
#[derive(Debug, Args)]
#[command(after_help = "\
The 24 words are asked for, then a new passphrase. Bank, logs and shops are named again, as for `init`: the words do not
know them. The bank is asked about every token that the words can have made: one question at a time, each on a connection
of its own, in random order and at random times, with questions about tokens that never were among them. There are two
rounds, each of which takes --over, in windows of the clock that all wallets have in common: so it waits for the next one.
It can be stopped at any time: the same command goes on. Nothing else can be begun before it is done.

Then purchases that were under way go on: they are finished, or aborted after their expiry. What was bought before is
fetched again where the shop still has it. What does not come back: the list of what was done, tokens of brands that are
closed (they are worth nothing), goods that the shop no longer has.

Never go on with a copy of the old wallet beside the restored one.

Example:
  naulon wallet restore --bank bank --log log --shop shop --over 6h")]
pub struct Restore {
    /// The bank that keeps the account: its folder, identity file or naulon: line.
    #[arg(long)]
    bank: Option<String>,
    /// A witness that watches the bank's register, as for `init`. May be given again.
    #[arg(long, value_name = "KEY")]
    witness: Vec<String>,
    /// How many of the witnesses must have seen the register; 0 means more than half.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    threshold: usize,
    /// A log that may decide on purchases. May be given again.
    #[arg(long, value_name = "LOG")]
    log: Vec<String>,
    /// A shop where something was bought. May be given again.
    #[arg(long, value_name = "SHOP")]
    shop: Vec<String>,
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    folder: Folder,
}

/// How the bank is asked.
#[derive(Debug, Args)]
pub struct Asking {
    /// How long each of the two rounds of questions takes.
    #[arg(long, value_name = "TIME", default_value = OVER)]
    over: Span,
    /// Ask everything at once. The bank can then tell which withdrawals and payments belong together.
    #[arg(long, conflicts_with = "over")]
    fast: bool,
    /// After how many unknown tokens in a row a brand counts as searched.
    #[arg(long, value_name = "N", default_value_t = GAP_LIMIT)]
    gap: u32,
    /// Read the words from this open file descriptor, one line, instead of asking for them.
    #[arg(long, value_name = "N")]
    words_fd: Option<u32>,
}

/// `naulon wallet backup …`
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Check the 24 words, and that they bring back what is in this wallet: a rehearsal of `restore` that changes nothing
    Verify(Verify),
}

/// `naulon wallet backup verify`
#[derive(Debug, Args)]
#[command(after_help = "\
A wallet in memory is restored from the words and compared with this one. Neither is changed, and nothing is locked,
bought or aborted. The bank is asked the questions of a restoration, so take your time (--over) here, too.

Example:
  naulon wallet backup verify --over 12h")]
pub struct Verify {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    folder: Folder,
}

impl Asking {
    fn over(&self) -> Duration {
        if self.fast { Duration::ZERO } else { Duration::from_millis(self.over.0.0) }
    }

    fn warn(&self) {
        if self.fast {
            output::note(FAST);
        }
    }

    fn words(&self) -> anyhow::Result<Words> {
        let text = match self.words_fd {
            Some(fd) => first_line(fd)?,
            None => Zeroizing::new(rpassword::prompt_password("The 24 words: ").context("cannot ask for the words")?),
        };
        Ok(Words::parse(&text)?)
    }
}

impl Restore {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let is_there = self.folder.dir().join(SETTINGS_FILE).exists();
        let passphrase = if is_there {
            passphrase.open("the wallet")?
        } else {
            let settings = self.named()?;
            let words = self.asking.words()?;
            let passphrase = passphrase.create("the wallet")?;
            PartyFolder::create(self.folder.dir(), |folder| {
                room::make_to_restore(folder, &settings, &passphrase, &words, self.asking.gap)
            })?;
            passphrase
        };
        let mut room = room::open(&self.folder.party(), self.folder.settings()?, &passphrase, output)?;
        let is_restoring = room.wallet().is_restoring();
        ensure!(is_restoring, "{} has a whole wallet; name another folder by --dir", self.folder.dir().display());
        self.asking.warn();
        crate::parties::serving::runtime()?.block_on(self.run_in(&mut room, output))
    }

    async fn run_in(&self, room: &mut Room, output: Output) -> anyhow::Result<Exit> {
        room.describe().await?;
        let restored = room.restore(self.asking.over(), output).await?;
        let went = room.see_through(None, self.folder.patience()).await?;
        let mut purchases = Vec::new();
        for id in &restored.purchases {
            purchases.extend(room.wallet().operation(*id, now())?.map(|entry| line(&entry)));
        }
        let mut report = summary(&restored);
        report["purchases"] = serde_json::to_value(&purchases)?;
        output.result(&report, |_| {
            let mut text = told(&restored);
            if !purchases.is_empty() {
                text.push_str("\n\n");
                text.push_str(&super::lines::listing(&purchases));
            }
            text
        })?;
        if went == Went::Stuck {
            output::note("purchases are under way still; `naulon wallet resume` goes on");
            return Ok(Exit::UnderWay);
        }
        Ok(Exit::Ok)
    }

    /// The settings of the parties that were named.
    fn named(&self) -> anyhow::Result<WalletSettings> {
        let Some(bank) = &self.bank else { bail!("name the bank by --bank, and the logs by --log") };
        ensure!(!self.log.is_empty(), "name the logs by --log: without them nobody can say what became of purchases");
        let settings = WalletSettings {
            bank: Identity::find(bank, Role::Bank)?.to_string(),
            witnesses: self.witness.clone(),
            threshold: self.threshold,
            logs: identity::lines_of(&self.log, Role::Log)?,
            shops: identity::lines_of(&self.shop, Role::Shop)?,
            ..room::settings_for(bank)?
        };
        with_proxy(settings, self.folder.proxy())
    }
}

impl Verify {
    /// Does it.
    pub fn run(&self, passphrase: PassphraseFrom, output: Output) -> anyhow::Result<Exit> {
        let settings = self.folder.settings()?;
        let words = self.asking.words()?;
        let passphrase = passphrase.open("the wallet")?;
        let mut room = room::open(&self.folder.party(), settings, &passphrase, output)?;
        if !room.wallet().is_of(&words.seed()) {
            let report = serde_json::json!({ "words": false, "same": false });
            output.result(&report, |_| "these are 24 words, but another wallet's".to_owned())?;
            return Ok(Exit::Failed);
        }
        self.asking.warn();
        crate::parties::serving::runtime()?.block_on(self.run_in(&mut room, &words, output))
    }

    async fn run_in(&self, room: &mut Room, words: &Words, output: Output) -> anyhow::Result<Exit> {
        let (scratch, restored) = room.rehearse(words, self.asking.gap, self.asking.over(), output).await?;
        let here = room.wallet().contents(now());
        let there = scratch.contents(now());
        let found = here.differences(&there);
        let (tokens, locked) = here.count();
        let mut report = summary(&restored);
        report["words"] = true.into();
        report["same"] = found.is_none().into();
        report["missing"] = serde_json::json!({
            "count": found.tokens_here, "tokens": found.worth_here.to_string(), "purchases": found.purchases_here,
        });
        report["more"] = serde_json::json!({
            "count": found.tokens_there, "tokens": found.worth_there.to_string(), "purchases": found.purchases_there,
        });
        output.result(&report, |_| {
            if found.is_none() {
                return format!("the words bring back all {tokens} tokens, and {locked} purchases under way");
            }
            format!(
                "the words are right. They do not bring back {} tokens ({}) and {} purchases that are here, and bring \
                 {} tokens ({}) and {} purchases that are not; `naulon wallet resume` may settle what is under way",
                found.tokens_here,
                found.worth_here,
                found.purchases_here,
                found.tokens_there,
                found.worth_there,
                found.purchases_there
            )
        })?;
        Ok(if found.is_none() { Exit::Ok } else { Exit::Failed })
    }
}

fn summary(restored: &Restored) -> serde_json::Value {
    serde_json::json!({
        "tokens": restored.free.to_string(), "count": restored.tokens, "set_aside": restored.held.to_string(),
        "spent_before": restored.spent, "unexplained": restored.unexplained, "closed_brands": restored.closed_brands,
    })
}

fn told(restored: &Restored) -> String {
    let mut pairs = vec![
        ("tokens to pay with", format!("{} ({})", restored.free, restored.tokens)),
        ("set aside", restored.held.to_string()),
        ("spent before", format!("{} tokens", restored.spent)),
        ("purchases", restored.purchases.len().to_string()),
    ];
    if restored.closed_brands > 0 {
        pairs.push(("not asked about", format!("{} brands that are closed", restored.closed_brands)));
    }
    if restored.unexplained > 0 {
        let what = "outputs of purchases whose tokens were of closed brands";
        pairs.push(("not explained", format!("{} {what}", restored.unexplained)));
    }
    output::list(pairs)
}

/// The first line that can be read from an open descriptor; of a pipe no more is taken.
fn first_line(fd: u32) -> anyhow::Result<Zeroizing<String>> {
    let mut file = File::open(format!("/dev/fd/{fd}")).context("the words cannot be read")?;
    // The room is made at once, because a vector that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_WORDS_LEN));
    let mut byte = Zeroizing::new([0]);
    while file.read(byte.as_mut_slice())? == 1 && byte[0] != b'\n' {
        ensure!(line.len() < MAX_WORDS_LEN, "that is more than 24 words: check what the descriptor reads from");
        line.push(byte[0]);
    }
    let text = std::str::from_utf8(&line).context("the words are no text")?;
    Ok(Zeroizing::new(text.to_owned()))
}
