//! Passphrases: from the terminal or a descriptor, never from the command line or the environment.

use naulon_durable::sealed::Passphrase;

/// Where a command takes its passphrase from.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct PassphraseFrom {
    /// Read the passphrase from this open file descriptor instead of asking for it, as in `--passphrase-fd 3 3<FILE`.
    #[arg(long, global = true, value_name = "N")]
    passphrase_fd: Option<u32>,
}

impl PassphraseFrom {
    /// The passphrase of something that exists.
    pub fn open(self, what: &str) -> anyhow::Result<Passphrase> {
        self.read(|| Passphrase::prompt(&format!("Passphrase of {what}: ")))
    }

    /// The passphrase of something new, asked twice.
    pub fn create(self, what: &str) -> anyhow::Result<Passphrase> {
        self.read(|| Passphrase::prompt_new(&format!("New passphrase for {what}: "), "The same again: "))
    }

    fn read(
        self,
        ask: impl FnOnce() -> Result<Passphrase, naulon_durable::sealed::PassphraseError>,
    ) -> anyhow::Result<Passphrase> {
        match self.passphrase_fd {
            Some(fd) => Ok(Passphrase::from_fd(fd)?),
            None => Ok(ask()?),
        }
    }
}
