//! Goods: the encrypted ones checked before anything is paid, the plain ones delivered.

use naulon_durable::StoreError;
use naulon_purchase::Ending;
use naulon_purchase::goods::{GoodsError, GoodsHasher, MerchandiseKey, Opener, SEALED_CHUNK_LEN};
use naulon_statement::{Digest, Timestamp};
use naulon_wire::Piece;

use super::Wallet;
use super::purchases::MAX_FETCHES;
use crate::change::Change;
use crate::error::WalletError;
use crate::event::Event;
use crate::operation::{Operation, OperationId, Purchase, Work};
use crate::store::WalletStore;

/// How many encrypted chunks are read at once.
const CHUNKS_AT_ONCE: usize = 32;
/// How many bytes are read at once.
const READ_LEN: usize = CHUNKS_AT_ONCE * SEALED_CHUNK_LEN;

/// What came of decrypting.
enum Opened {
    /// The goods are in their place.
    Delivered(String),
    /// The key does not open them, or they are not as described.
    Cheated(GoodsError),
    /// The encrypted goods on the disk are no longer the ones that were paid for.
    Damaged,
}

impl<S: WalletStore> Wallet<S> {
    /// Takes a piece of the encrypted goods.
    pub(super) fn goods_arrived(
        &mut self,
        operation: &Operation,
        purchase: &Purchase,
        piece: &Piece,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        let (id, offer, bytes) = (operation.id, purchase.offer(), &piece.bytes);
        // One piece for each time of asking: a repeated answer finds nothing that waits for it.
        let Some(offset) = self.track(id).piece.take() else { return Ok(()) };
        let of = purchase.buyer.offer().sealed_size();
        let room = usize::try_from(of.saturating_sub(offset)).unwrap_or(usize::MAX);
        if bytes.is_empty() || bytes.len() > room || piece.offset != offset {
            self.emit(id, Event::Distrusted("a piece of goods that is empty or too long, or another one"));
            return Ok(());
        }
        match self.goods.append(&offer, offset, bytes) {
            Ok(()) => {
                self.emit(id, Event::Fetched { bytes: offset + bytes.len() as u64, of });
                Ok(())
            }
            Err(error) => self.local_failure(id, error, now),
        }
    }

    /// Hashes the encrypted goods, if they are whole, and compares them with the offer. True if that was a step.
    pub(super) fn check_goods(
        &mut self,
        operation: &Operation,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<bool, WalletError> {
        let id = operation.id;
        match self.hash_goods(id, purchase, now) {
            Ok(None) => Ok(false),
            Ok(Some(digest)) => self.goods_hashed(operation, &digest, now),
            Err(error) => self.local_failure(id, error, now).map(|()| false),
        }
    }

    fn goods_hashed(&mut self, operation: &Operation, digest: &Digest, now: Timestamp) -> Result<bool, WalletError> {
        let (id, mut fetched) = (operation.id, operation.clone());
        let Work::Purchase(purchase) = &mut fetched.work else { return Ok(false) };
        if purchase.buyer.fetched(digest).is_ok() {
            self.commit(vec![Change::Operation(Box::new(fetched))])?;
            return Ok(true);
        }
        self.emit(id, Event::OtherGoods);
        if let Err(error) = self.goods.discard(&purchase.offer()) {
            return self.local_failure(id, error, now).map(|()| false);
        }
        let track = self.track(id);
        track.fetches += 1;
        if track.fetches < MAX_FETCHES {
            return Ok(false);
        }
        purchase.refused = Some("other_goods".to_owned());
        if purchase.buyer.give_up().is_ok() {
            self.end(fetched, crate::operation::End::Purchase(Ending::GivenUp), now, Vec::new(), Vec::new())?;
        }
        Ok(false)
    }

    /// The digest of the encrypted goods on the disk; none if some are missing, or it has failed a moment ago.
    fn hash_goods(
        &mut self,
        id: OperationId,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<Option<Digest>, StoreError> {
        let (offer, of) = (purchase.offer(), purchase.buyer.offer().sealed_size());
        if now < self.track(id).not_before || self.goods.kept(&offer)? < of {
            return Ok(None);
        }
        self.hash_all(id, &offer, of).map(Some)
    }

    fn hash_all(&mut self, id: OperationId, offer: &Digest, of: u64) -> Result<Digest, StoreError> {
        let mut hasher = GoodsHasher::default();
        loop {
            let piece = self.goods.read(offer, hasher.total(), READ_LEN)?;
            if piece.is_empty() {
                return Ok(hasher.finish());
            }
            hasher.update(&piece);
            self.emit(id, Event::Checked { bytes: hasher.total(), of });
        }
    }

    /// Decrypts the goods with the key that the log has published. True if that was a step.
    pub(super) fn deliver(
        &mut self,
        operation: &Operation,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<bool, WalletError> {
        let (id, offer) = (operation.id, purchase.offer());
        let opened = match self.open_goods(id, purchase, now) {
            Ok(None) => return Ok(false),
            Ok(Some(opened)) => opened,
            Err(error) => return self.local_failure(id, error, now).map(|()| false),
        };
        let mut further = operation.clone();
        let Work::Purchase(purchase) = &mut further.work else { return Ok(false) };
        let (written, event) = match opened {
            Opened::Delivered(place) => {
                purchase.place = Some(place.clone());
                (purchase.buyer.delivered(), Event::Delivered { place })
            }
            Opened::Cheated(error) => {
                purchase.refused = Some(
                    match error {
                        GoodsError::DoesNotOpen => "does_not_open",
                        GoodsError::NotAsDescribed => "not_as_described",
                    }
                    .to_owned(),
                );
                (purchase.buyer.cheated(), Event::Cheated)
            }
            Opened::Damaged => {
                self.emit(id, Event::OtherGoods);
                return match self.goods.discard(&offer) {
                    Ok(()) => Ok(false),
                    Err(error) => self.local_failure(id, error, now).map(|()| false),
                };
            }
        };
        if written.is_err() {
            return Ok(false);
        }
        let ending = if event == Event::Cheated { Ending::Cheated } else { Ending::Bought };
        self.commit(vec![Change::Operation(Box::new(further))])?;
        self.emit(id, event);
        self.clear_goods(id, &offer, ending, now)?;
        Ok(true)
    }

    /// Decrypts chunk by chunk, in bounded memory, and puts the goods in their place; none if encrypted goods are
    /// missing, or it has failed a moment ago.
    fn open_goods(
        &mut self,
        id: OperationId,
        purchase: &Purchase,
        now: Timestamp,
    ) -> Result<Option<Opened>, StoreError> {
        let goods_m = purchase.buyer.offer().clone();
        let (offer, of) = (purchase.offer(), goods_m.sealed_size());
        let Some(k) = purchase.buyer.key() else { return Ok(None) };
        if now < self.track(id).not_before || self.goods.kept(&offer)? < of {
            return Ok(None);
        }
        let opened = match MerchandiseKey::published(k).unwrap(&goods_m.n, &goods_m.wrapped_key) {
            Ok(file_key) => self.decrypt(id, &offer, of, Opener::new(file_key))?,
            Err(error) => Err(error),
        };
        let checked = match opened {
            Ok(opener) => opener.finish(&goods_m.contract),
            Err(error) => Err(error),
        };
        if checked.is_ok() {
            return self.goods.finish(&offer, &goods_m.contract.title).map(Opened::Delivered).map(Some);
        }
        self.goods.abandon(&offer)?;
        // Before the merchant is accused: are these the very bytes that it signed for?
        let same = self.hash_all(id, &offer, of)? == goods_m.goods;
        Ok(Some(checked.err().filter(|_| same).map_or(Opened::Damaged, Opened::Cheated)))
    }

    fn decrypt(
        &mut self,
        id: OperationId,
        offer: &Digest,
        of: u64,
        mut opener: Opener,
    ) -> Result<Result<Opener, GoodsError>, StoreError> {
        self.goods.begin(offer)?;
        let mut at = 0;
        loop {
            let piece = self.goods.read(offer, at, READ_LEN)?;
            if piece.is_empty() {
                return Ok(Ok(opener));
            }
            at += piece.len() as u64;
            let mut chunks = piece.chunks(SEALED_CHUNK_LEN).peekable();
            let mut plain = Vec::with_capacity(piece.len());
            while let Some(chunk) = chunks.next() {
                match opener.open(chunk, at >= of && chunks.peek().is_none()) {
                    Ok(opened) => plain.extend_from_slice(&opened),
                    Err(error) => return Ok(Err(error)),
                }
            }
            self.goods.extend(offer, &plain)?;
            self.emit(id, Event::Decrypted { bytes: at, of });
        }
    }

    /// Forgets the encrypted goods of a purchase that is given up. That comes before its end is written: else, if the process
    /// is killed in between, nobody would ever look for them again.
    pub(super) fn discard_goods(&mut self, operation: &Operation, now: Timestamp) -> Result<(), WalletError> {
        match operation.purchase().map(Purchase::offer) {
            Some(offer) => self.clear_goods(operation.id, &offer, Ending::GivenUp, now),
            None => Ok(()),
        }
    }

    /// Forgets encrypted goods that are no longer needed. Of a fraud they are kept: they belong to the evidence.
    pub(super) fn clear_goods(
        &mut self,
        id: OperationId,
        offer: &Digest,
        ending: Ending,
        now: Timestamp,
    ) -> Result<(), WalletError> {
        if ending == Ending::Cheated {
            return Ok(());
        }
        match self.goods.discard(offer) {
            Ok(()) => Ok(()),
            Err(error) => self.local_failure(id, error, now),
        }
    }
}
