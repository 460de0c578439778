//! A passphrase, and the two ways by which one may come in.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;

use zeroize::Zeroizing;

/// Longest passphrase, in bytes.
pub const MAX_PASSPHRASE_LEN: usize = 1024;

/// A passphrase as it was typed. It has no Debug and is zeroized.
///
/// There is no constructor from a command line's argument or an environment variable, since other users and child
/// processes can read both.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// A passphrase that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// There is no terminal to ask on. Operator: run in a terminal, or use `--passphrase-fd N`.
    #[error("cannot ask for the passphrase: {0}; run in a terminal, or use --passphrase-fd")]
    Terminal(io::Error),
    /// The descriptor cannot be read. Operator: open it for the program, as in `--passphrase-fd 3 3<file`.
    #[error("cannot read the passphrase: {0}; open the descriptor for the program, as in --passphrase-fd 3 3<FILE")]
    Read(io::Error),
    /// Nothing was given. Operator: give at least one character.
    #[error("the passphrase is empty: give at least one character")]
    Empty,
    /// Longer than [`MAX_PASSPHRASE_LEN`]. Operator: is it the right file?
    #[error("the passphrase is longer than {MAX_PASSPHRASE_LEN} bytes: check what the descriptor reads from")]
    TooLong,
    /// The two times were not the same. Operator: try again.
    #[error("the two passphrases differ: nothing was created, try again")]
    Differ,
}

impl Passphrase {
    /// Asks once on the terminal, without echo: for opening what exists.
    ///
    /// # Errors
    /// [`PassphraseError`], with [`PassphraseError::Terminal`] when there is no terminal.
    pub fn prompt(text: &str) -> Result<Self, PassphraseError> {
        let typed = rpassword::prompt_password(text).map_err(PassphraseError::Terminal)?;
        Self::checked(Zeroizing::new(typed.into_bytes()))
    }

    /// Asks twice on the terminal, without echo: for creating, where a slip of the finger would lock the secret up for
    /// ever.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt), and [`PassphraseError::Differ`].
    pub fn prompt_new(text: &str, again: &str) -> Result<Self, PassphraseError> {
        Self::prompt(text)?.confirmed_by(&Self::prompt(again)?)
    }

    /// The first line that can be read from the process's descriptor `fd` (`--passphrase-fd`). Of a pipe no more than
    /// that line is taken; a file is read from its start.
    ///
    /// # Errors
    /// [`PassphraseError`], with [`PassphraseError::Read`] when `fd` is not open for reading.
    pub fn from_fd(fd: u32) -> Result<Self, PassphraseError> {
        // Taking over a descriptor by its number is unsafe in Rust, since somebody else may own it. The system gives a
        // descriptor of our own on the same pipe or file by this name.
        let own = match fd {
            // By its name a socket cannot be opened, and standard input is one under some programs.
            0 => std::io::stdin().as_fd().try_clone_to_owned().map(File::from),
            fd => File::open(format!("/dev/fd/{fd}")),
        };
        Self::from_reader(own.map_err(PassphraseError::Read)?)
    }

    /// The first line of `reader`, without its line end.
    ///
    /// # Errors
    /// [`PassphraseError`], with [`PassphraseError::Read`] when `reader` fails.
    pub fn from_reader(mut reader: impl Read) -> Result<Self, PassphraseError> {
        // The room is made at once, because a vector that grows leaves copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_LEN + 2));
        let mut byte = Zeroizing::new([0]);
        loop {
            match reader.read(byte.as_mut_slice()) {
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => {
                    line.pop_if(|last| *last == b'\r');
                    break;
                }
                Ok(_) if line.len() > MAX_PASSPHRASE_LEN => return Err(PassphraseError::TooLong),
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(PassphraseError::Read(error)),
            }
        }
        Self::checked(line)
    }

    /// The bytes: for the key derivation, and for who keeps a passphrase of something else, such as a token's PIN.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn checked(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=MAX_PASSPHRASE_LEN => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// Both were typed by the same person a moment ago, so there is nobody to hide the comparison's time from.
    fn confirmed_by(self, again: &Self) -> Result<Self, PassphraseError> {
        if self.0 == again.0 { Ok(self) } else { Err(PassphraseError::Differ) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::fd::AsRawFd;

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<u8>, PassphraseError> {
        Passphrase::from_reader(text).map(|passphrase| passphrase.as_bytes().to_vec())
    }

    #[test]
    fn the_first_line_is_the_passphrase() {
        for text in ["horse", "horse\n", "horse\r\n", "horse\nstaple\n"] {
            assert_eq!(read(text.as_bytes()).expect("a passphrase"), b"horse", "{text:?}");
        }
        assert_eq!(read(b" a b\r c \n").expect("a passphrase"), b" a b\r c ");
        assert_eq!(read("ναῦλον".as_bytes()).expect("a passphrase"), "ναῦλον".as_bytes());
    }

    #[test]
    fn empty_and_too_long_ones_are_refused() {
        for text in [&b""[..], b"\n", b"\r\n", b"\nhorse"] {
            assert!(matches!(read(text), Err(PassphraseError::Empty)), "{text:?}");
        }
        let longest = vec![b'x'; MAX_PASSPHRASE_LEN];
        for end in [&b""[..], b"\n", b"\r\n"] {
            assert_eq!(read(&[&longest, end].concat()).expect("a passphrase"), longest);
        }
        for longer in [1, 2, 1_000_000] {
            let text = vec![b'x'; MAX_PASSPHRASE_LEN + longer];
            assert!(matches!(read(&text), Err(PassphraseError::TooLong)), "{longer}");
        }
        let endless = Passphrase::from_reader(std::io::repeat(b'x'));
        assert!(matches!(endless, Err(PassphraseError::TooLong)), "given up before its end");
    }

    #[test]
    fn a_descriptor_can_be_a_pipe_and_only_its_first_line_is_taken() {
        let (mut out, mut into) = std::io::pipe().expect("a pipe");
        into.write_all(b"horse\nrest").expect("written");
        let fd = u32::try_from(out.as_raw_fd()).expect("not negative");
        // The writer is still open: nothing waits for the pipe's end.
        assert_eq!(Passphrase::from_fd(fd).expect("a passphrase").as_bytes(), b"horse");
        drop(into);
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("read");
        assert_eq!(rest, "rest");
    }

    #[test]
    fn a_descriptor_can_be_a_file_but_must_be_open() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"horse\n").expect("written");
        file.rewind().expect("rewound");
        let fd = u32::try_from(file.as_raw_fd()).expect("not negative");
        assert_eq!(Passphrase::from_fd(fd).expect("a passphrase").as_bytes(), b"horse");
        assert!(matches!(Passphrase::from_fd(1_000_000), Err(PassphraseError::Read(_))));
    }

    #[test]
    fn a_new_passphrase_is_the_one_typed_twice() {
        let typed = |text: &str| Passphrase::from_reader(text.as_bytes()).expect("a passphrase");
        assert!(typed("horse").confirmed_by(&typed("horse")).is_ok());
        assert!(matches!(typed("horse").confirmed_by(&typed("house")), Err(PassphraseError::Differ)));
    }
}
