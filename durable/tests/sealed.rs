//! What a sealed file promises: it opens with its passphrase alone, whole and unchanged, and is never overwritten.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use naulon_durable::sealed::{
    Cost, CreateError, MAX_SECRET_LEN, Passphrase, SEAL_ENTROPY_LEN, SealedError, SealedFile,
};

const SECRET: &[u8] = b"twenty-four words";
const ENTROPY: [u8; SEAL_ENTROPY_LEN] = [7; SEAL_ENTROPY_LEN];
/// Where the numbers of the cost stand: after the array's head and the mark.
const COST_AT: usize = 22;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::from_reader(text.as_bytes()).expect("a passphrase")
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("wallet.seed");
    (directory, path)
}

fn create(path: &Path, secret: &[u8]) -> Result<(), CreateError> {
    SealedFile::create(path, &passphrase("horse"), Cost::light(), secret, &ENTROPY)
}

fn open(path: &Path) -> Result<Vec<u8>, SealedError> {
    SealedFile::open(path, &passphrase("horse")).map(|secret| secret.to_vec())
}

/// Writes a changed file, and gives what opening it says.
fn open_changed(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, SealedError> {
    fs::write(path, bytes).expect("written");
    open(path)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

#[test]
fn it_opens_with_its_passphrase_only() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    assert_eq!(open(&path).expect("opens"), SECRET);
    for wrong in ["Horse", "horse ", "hors"] {
        let refused = SealedFile::open(&path, &passphrase(wrong));
        assert!(matches!(refused, Err(SealedError::WrongPassphrase { .. })), "{wrong}");
    }
}

#[test]
fn the_default_cost_opens_too_and_stands_in_the_file() {
    let (_directory, path) = directory();
    SealedFile::create(&path, &passphrase("horse"), Cost::default(), SECRET, &ENTROPY).expect("created");
    assert_eq!(open(&path).expect("opens"), SECRET);
    let bytes = fs::read(&path).expect("read");
    assert_eq!(bytes[COST_AT..COST_AT + 7], [0x1a, 0, 1, 0, 0, 3, 1], "64 MiB, 3 passes, 1 lane");
}

#[test]
fn the_shortest_and_the_longest_secret_fit_and_no_longer_one() {
    for secret in [vec![], vec![5; MAX_SECRET_LEN]] {
        let (_directory, path) = directory();
        create(&path, &secret).expect("created");
        assert!(open(&path).expect("opens") == secret);
    }
    let (directory, path) = directory();
    let refused = create(&path, &vec![5; MAX_SECRET_LEN + 1]);
    assert!(matches!(refused, Err(CreateError::TooLong { len }) if len == MAX_SECRET_LEN + 1));
    assert!(names(directory.path()).is_empty());
}

#[test]
fn only_its_owner_can_read_it_and_nothing_else_is_left() {
    let (directory, path) = directory();
    create(&path, SECRET).expect("created");
    assert_eq!(fs::metadata(&path).expect("metadata").mode() & 0o777, 0o600);
    assert_eq!(names(directory.path()), ["wallet.seed"]);
}

#[test]
fn what_exists_is_never_overwritten() {
    let (directory, path) = directory();
    create(&path, SECRET).expect("created");
    let before = fs::read(&path).expect("read");
    let dangling = directory.path().join("dangling");
    symlink(directory.path().join("nowhere"), &dangling).expect("linked");
    for taken in [&path, &dangling, &directory.path().to_owned()] {
        let refused = create(taken, b"another secret");
        assert!(matches!(refused, Err(CreateError::Exists { .. })), "{taken:?}: {refused:?}");
    }
    assert_eq!(fs::read(&path).expect("read"), before);
    assert_eq!(names(directory.path()), ["dangling", "wallet.seed"]);
}

#[test]
fn of_two_that_create_one_name_at_once_one_wins() {
    let (directory, path) = directory();
    let results: Vec<_> = std::thread::scope(|scope| {
        let create = |n: u8| {
            let path = &path;
            move || SealedFile::create(path, &passphrase("horse"), Cost::light(), &[n], &[n; SEAL_ENTROPY_LEN])
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(create(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let winner = results.iter().position(Result::is_ok).expect("one wins");
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|e| matches!(e, CreateError::Exists { .. })));
    assert_eq!(open(&path).expect("opens"), [u8::try_from(winner).expect("small")]);
    assert_eq!(names(directory.path()), ["wallet.seed"]);
}

#[test]
fn a_directory_that_does_not_exist_is_told() {
    let (directory, path) = directory();
    assert!(matches!(create(&directory.path().join("none/wallet.seed"), SECRET), Err(CreateError::Io { .. })));
    assert!(matches!(open(&path), Err(SealedError::Io { .. })));
}

#[test]
fn each_flipped_bit_is_refused() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    let bytes = fs::read(&path).expect("read");
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open_changed(&path, &changed).is_err(), "bit {bit}");
    }
}

#[test]
fn each_cut_and_each_addition_is_refused() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    let bytes = fs::read(&path).expect("read");
    for len in 0..bytes.len() {
        assert!(matches!(open_changed(&path, &bytes[..len]), Err(SealedError::NotSealed { .. })), "length {len}");
    }
    for more in [1, 3 * MAX_SECRET_LEN] {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert!(matches!(open_changed(&path, &longer), Err(SealedError::NotSealed { .. })), "{more} more");
    }
}

#[test]
fn another_encoding_of_the_same_values_is_refused() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    let bytes = fs::read(&path).expect("read");
    let indefinite = [&[0x9f], &bytes[1..], &[0xff]].concat();
    let longer_number = [&bytes[..COST_AT], &[0x18], &bytes[COST_AT..]].concat();
    for changed in [indefinite, longer_number] {
        assert!(matches!(open_changed(&path, &changed), Err(SealedError::NotSealed { .. })));
    }
}

#[test]
fn a_cost_that_is_absurd_is_refused_before_it_is_paid() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    let bytes = fs::read(&path).expect("read");
    assert_eq!(bytes[COST_AT..COST_AT + 3], [8, 1, 1]);
    for cost in [
        &[0x1a, 0x00, 0x10, 0x00, 0x01, 1, 1][..], // 1 GiB and 1 KiB
        &[0x1a, 0xff, 0xff, 0xff, 0xff, 1, 1],
        &[8, 17, 1],
        &[8, 0, 1],
        &[0x18, 0xff, 1, 17],
        &[8, 1, 0],
        &[7, 1, 1],
    ] {
        let changed = [&bytes[..COST_AT], cost, &bytes[COST_AT + 3..]].concat();
        let refused = open_changed(&path, &changed);
        assert!(matches!(refused, Err(SealedError::Cost { .. })), "{cost:?}: {refused:?}");
    }
}

/// Frozen: written files must open for ever. `vectors/make.py` wrote this one, without our code.
#[test]
fn the_format_is_frozen() {
    let (_directory, path) = directory();
    create(&path, SECRET).expect("created");
    assert_eq!(fs::read(&path).expect("read"), include_bytes!("../vectors/sealed-file.bin"));
}
