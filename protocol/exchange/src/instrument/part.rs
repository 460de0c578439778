//! Tokens that are spent in parts (AAT §8.3): an amount is taken, and the rest remains on the token.
//!
//! The first use opens the token: it takes the token's mark, for ever, so that the token cannot be given up as a whole any
//! more. What is left is one row, which each use changes under the condition that enough is there. Each use also holds a
//! mark of its own, one of [`MAX_PARTS`] places of the token, by which the uses are found that a refusal proves itself by;
//! an abort gives it back, with the amount.

use std::sync::Arc;

use naulon_money::Amount;
use naulon_statement::Digest;

use super::{Given, token_mark};
use crate::refusal::Refusal;
use crate::request::{Exchange, Input, RequestId};
use crate::state::{Draw, DrawChange, Mark, MarkKind, Record, State, View};

/// How many uses of one token may be live at once. The last of them must take all that is left. It bounds what a bank looks
/// up and shows for a token.
pub const MAX_PARTS: u8 = 16;

/// The mark of one of a token's uses. The token is named by the key of its mark.
pub fn part_mark(token: &Digest, place: u8) -> Mark {
    Mark { key: Digest::of(&[b"naulon/mark/part", token.as_bytes(), &[place]]), kind: MarkKind::Part }
}

/// All marks that uses of a token may hold.
pub(crate) fn part_marks(token: &Digest) -> impl Iterator<Item = Mark> {
    (0..MAX_PARTS).map(|place| part_mark(token, place))
}

/// Whether an exchange gives up a part of this token.
pub(crate) fn is_use_of(exchange: &Exchange, token: &Digest) -> bool {
    part_taken(exchange, token).is_some()
}

/// How much of this token an exchange gives up, if it is a part.
fn part_taken(exchange: &Exchange, token: &Digest) -> Option<Amount> {
    exchange.inputs.iter().find_map(|input| match input {
        Input::Token { token: given, part, .. } if token_mark(given).key == *token => *part,
        _ => None,
    })
}

/// The marks and the change by which a part of a token is given up, or why it cannot be. `issued` is the token's value.
pub(crate) fn draw(
    view: &View,
    id: &RequestId,
    (given, whole): (&Given, Mark),
    issued: Amount,
) -> Result<(Vec<Mark>, Draw), Refusal> {
    let token = whole.key;
    let Some(remainder) = view.remainders.get(&token) else {
        let left = issued.checked_sub(given.value).ok_or(Refusal::AmountOutOfRange)?;
        let marks = vec![whole, part_mark(&token, preferred(id))];
        return Ok((marks, Draw { token, change: DrawChange::Open { left } }));
    };
    let uses: Vec<Arc<Record>> = part_marks(&token).filter_map(|mark| view.holders.get(&mark)).cloned().collect();
    if remainder.left < given.value {
        return Err(exceeded(&token, remainder.left, given.value, issued, uses));
    }
    let change = DrawChange::Take { amount: given.value };
    let too_many = Refusal::TooManyParts { left: remainder.left };
    let free = (0..MAX_PARTS).map(|step| part_mark(&token, (preferred(id) + step) % MAX_PARTS));
    match free.filter(|mark| !view.holders.contains_key(mark)).take(1).next() {
        Some(mark) if remainder.after(&change).is_some() => Ok((vec![mark], Draw { token, change })),
        _ => Err(too_many),
    }
}

/// Where a use looks for a free place first. Uses that arrive together seldom want the same.
fn preferred(id: &RequestId) -> u8 {
    id.0[0] % MAX_PARTS
}

/// More is wanted than is left: for good, if what cannot come back any more is too much already.
fn exceeded(token: &Digest, left: Amount, wanted: Amount, issued: Amount, uses: Vec<Arc<Record>>) -> Refusal {
    let gone = uses.iter().filter(|record| record.state != State::Locked);
    let gone = Amount::checked_sum(gone.filter_map(|record| part_taken(&record.exchange, token)));
    let may_fit = gone.and_then(|gone| gone.checked_add(wanted)).is_some_and(|sum| sum <= issued);
    if may_fit { Refusal::PartLocked { left, uses } } else { Refusal::PartSpent { left, uses } }
}
