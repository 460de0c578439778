//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::audit::Audit;
use crate::demo::Demo;
use crate::inspect::Inspect;
use crate::parties::{
    BankCommand, DirectoryCommand, LogCommand, MixCommand, ProxyCommand, PurseCommand, ShopCommand, WalletCommand,
};
use crate::passphrase::PassphraseFrom;
use crate::verify::Verify;

/// Pay for things on a network without being identified by the payment.
#[derive(Debug, Parser)]
#[command(
    name = "naulon",
    version,
    disable_help_subcommand = true,
    after_help = "\
Exit codes:
  0  done
  1  failed
  2  wrong command line
  3  refused, or not enough money
  4  begun and written down, not yet finished: `naulon wallet resume` goes on
`verify` and `audit` have their own; see their --help.

To see all of it at work:   naulon demo
To set it up by hand:       README.md, `naulon bank --help`, `naulon wallet --help`"
)]
pub struct Cli {
    /// Print results as JSON, one line each.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseFrom,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See all of it at work: bank, log, shop and wallet on this machine, over real HTTP
    Demo(Demo),
    /// A bank: keeps accounts, and issues tokens that it cannot recognise again
    #[command(subcommand)]
    Bank(BankCommand),
    /// A log: decides exactly one of commit and abort for every purchase, in public
    #[command(subcommand)]
    Log(LogCommand),
    /// A shop: sells the files of a folder
    #[command(subcommand)]
    Shop(ShopCommand),
    /// A wallet: tokens, purchases, and what was bought
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// A mix: forwards blocks, and is paid for each
    #[command(subcommand)]
    Mix(MixCommand),
    /// A purse: checks for mixes, made off-line (a demonstration in software)
    #[command(subcommand)]
    Purse(PurseCommand),
    /// A directory: one signed list of mixes, banks and logs
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// The mixes' client: a SOCKS5 proxy whose every block is paid, by the wallet's tokens
    Proxy(Box<ProxyCommand>),
    /// Judge an evidence file offline: who may claim what, and who has broken a rule
    Verify(Verify),
    /// Say what a string or a file is
    Inspect(Inspect),
    /// Check a bank's books, while it runs or not
    Audit(Audit),
    /// Print the settings in force
    #[command(subcommand)]
    Config(Config),
}

/// `naulon config …`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting of a party, and where its value comes from
    #[command(after_help = "\
The environment (NAULON_<ROLE>_<KEY>) is over naulon.toml, and that is over the defaults.

Examples:
  naulon config show --dir bank
  NAULON_SHOP_TWO_SIDED=true naulon config show --dir shop")]
    Show(Folder),
}

/// The folder of a party.
#[derive(Debug, Args)]
pub struct Folder {
    /// The party's folder.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}
