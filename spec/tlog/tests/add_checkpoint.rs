//! The request to a witness: its one spelling.

use naulon_tlog::*;
use proptest::prelude::*;

/// The example of C2SP tlog-witness.
const EXAMPLE: &str = "\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

#[test]
fn the_published_example_is_read() {
    let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).expect("a request");
    assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
    assert_eq!(request.claimed_origin(), "example.com/behind-the-sofa");
    assert_eq!(request.text(), EXAMPLE);
}

#[test]
fn other_spellings_are_refused() {
    let refused = |body: &str| assert_eq!(AddCheckpoint::parse(body.as_bytes()), None, "{body:?}");
    for old in ["old 020852014", "old +1", "old -1", "old ", "old", "Old 1", "old  1", "old 18446744073709551616"] {
        refused(&EXAMPLE.replace("old 20852014", old));
    }
    refused("");
    refused("old 1\n");
    refused(&EXAMPLE.replace("kaw=", "kaw"));
    refused(&EXAMPLE.replace("kaw=", "kax="));
    refused(&EXAMPLE.replace('\n', "\r\n"));
    let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
    let with = |count: usize| EXAMPLE.replace(line, &line.repeat(count));
    assert!(AddCheckpoint::parse(with(60).as_bytes()).is_some(), "63 lines are the most");
    refused(&with(61));
    refused(&format!("{EXAMPLE}{}", "x".repeat(MAX_ADD_CHECKPOINT_LEN)));
    assert_eq!(AddCheckpoint::parse(b"old 1\n\n\xff"), None);
    let bare = AddCheckpoint::parse(b"old 0\n\n").expect("the checkpoint is for the witness to judge");
    assert_eq!((bare.claimed_origin(), bare.checkpoint.as_str()), ("", ""));
}

proptest! {
    #[test]
    fn what_is_written_is_read(old in any::<u64>(), proof in prop::collection::vec(any::<[u8; 32]>(), 0..=63), note in "\\PC*") {
        let request = AddCheckpoint { old, proof, checkpoint: note };
        prop_assert_eq!(AddCheckpoint::parse(request.text().as_bytes()), Some(request));
    }

    #[test]
    fn what_is_read_is_written_the_same(body in "old [0-9]{1,3}\n([A-Za-z0-9+/]{43}=\n){0,3}\n?[a-z]{0,5}\n?") {
        if let Some(request) = AddCheckpoint::parse(body.as_bytes()) {
            prop_assert_eq!(request.text(), body);
        }
    }
}
