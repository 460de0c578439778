//! Which mixes a path is drawn of.

use naulon_onion::{Contract, Descriptor, Member, Protocol};
use naulon_proxy::{Billing, PathError, PathWanted, Snapshot};
use naulon_statement::Timestamp;
use naulon_stream::Target;

use crate::mixes::{Mixes, currency, key};

fn path(listed: Vec<Descriptor>, now: u64, draw: &mut impl FnMut(usize) -> usize) -> Result<Vec<String>, PathError> {
    let target = Target::parse("host.example", 80).unwrap();
    let wanted = PathWanted { bank: key(1).public(), currency: currency(), target, billing: Billing::Each };
    let path = Snapshot::new(listed, Timestamp(2_000)).path(&wanted, Timestamp(now), draw)?;
    Ok(path.hops.iter().map(|mix| mix.name.clone()).collect())
}

#[tokio::test]
async fn a_list_that_has_run_out_gives_no_path() {
    let mixes = Mixes::start(Protocol::BEFORE_SENDER).await;
    assert!(path(mixes.listed(), 1_999, &mut |_| 0).is_ok());
    assert_eq!(path(mixes.listed(), 2_000, &mut |_| 0), Err(PathError::Over));
}

/// Mixes that are in one hand by what they say of themselves are never in one path.
#[tokio::test]
async fn mixes_of_one_hand_share_no_path() {
    let mixes = Mixes::start(Protocol::BEFORE_SENDER).await;
    let chain = |mix: &mut Descriptor| {
        let member = Member { mix: mix.mix, account: key(77).public(), share: 1 };
        mix.contract = Some(Contract { provider: key(99).public(), paying: mix.mix, members: vec![member] });
    };
    type Change<'a> = &'a dyn Fn(&mut Descriptor, &mut Descriptor);
    let changes: [Change; 5] = [
        &|one, other| one.link = other.link,
        &|one, other| one.address.clone_from(&other.address),
        &|one, other| one.payees[0].payee = other.payees[0].payee,
        &|one, _| one.address = "Host.Example:1".to_owned(),
        &|one, other| [one, other].map(chain).iter().for_each(drop),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut listed = mixes.listed();
        let mut fourth = listed[0].clone();
        (fourth.mix, fourth.name) = (key(60).public(), "mix 3".to_owned());
        (fourth.link, fourth.address) = (key(61).public(), "host.example:2".to_owned());
        fourth.payees[0].payee = key(62).public();
        change(&mut listed[0], &mut fourth);
        listed.push(fourth);
        for seed in 0..24 {
            let mut left = seed;
            let mut draw = |n: usize| {
                let drawn = left % n;
                left /= n;
                drawn
            };
            let drawn = path(listed.clone(), 1_000, &mut draw).unwrap();
            assert!(!(drawn.contains(&"mix 0".to_owned()) && drawn.contains(&"mix 3".to_owned())), "{at}: {drawn:?}");
        }
        // Without the mix that stands apart there is none.
        listed.remove(1);
        assert_eq!(path(listed, 1_000, &mut |_| 0), Err(PathError::TooAlike(3)), "{at}");
    }
}
