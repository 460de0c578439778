//! Goods in memory, for the simulator and for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use naulon_durable::StoreError;
use naulon_durable::fault::Faults;
use naulon_statement::Digest;

use super::GoodsDir;

/// Goods in memory. Clones share them, as two processes one after the other share a disk.
#[derive(Clone, Default)]
pub struct MemoryGoods {
    shelf: Arc<Mutex<Shelf>>,
    faults: Faults,
}

#[derive(Default)]
struct Shelf {
    sealed: BTreeMap<Digest, Vec<u8>>,
    begun: BTreeMap<Digest, Vec<u8>>,
    finished: BTreeMap<String, Vec<u8>>,
}

impl MemoryGoods {
    /// An empty shelf. Each durable write goes through `faults`.
    pub fn new(faults: Faults) -> Self {
        MemoryGoods { shelf: Arc::default(), faults }
    }

    /// The finished goods at the place that [`GoodsDir::finish`] gave.
    pub fn finished(&self, place: &str) -> Option<Vec<u8>> {
        self.shelf().finished.get(place).cloned()
    }

    /// All finished goods, by place.
    pub fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.shelf().finished.clone()
    }

    /// The offers of which there are encrypted goods.
    pub fn encrypted(&self) -> Vec<Digest> {
        self.shelf().sealed.keys().copied().collect()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.faults.is_crashed() { Err(StoreError::Crashed) } else { Ok(()) }
    }
}

impl GoodsDir for MemoryGoods {
    fn kept(&mut self, offer: &Digest) -> Result<u64, StoreError> {
        self.alive()?;
        Ok(self.shelf().sealed.get(offer).map_or(0, |bytes| bytes.len() as u64))
    }

    fn append(&mut self, offer: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.faults.around(|| {
            let mut shelf = self.shelf();
            let sealed = shelf.sealed.entry(*offer).or_default();
            if sealed.len() as u64 == offset {
                sealed.extend_from_slice(bytes);
            }
        })
    }

    fn read(&mut self, offer: &Digest, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        self.alive()?;
        let shelf = self.shelf();
        let sealed = shelf.sealed.get(offer).map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(sealed.len());
        let end = start.saturating_add(len).min(sealed.len());
        Ok(sealed[start..end].to_vec())
    }

    fn discard(&mut self, offer: &Digest) -> Result<(), StoreError> {
        self.faults.around(|| {
            self.shelf().sealed.remove(offer);
        })
    }

    fn begin(&mut self, offer: &Digest) -> Result<(), StoreError> {
        self.alive()?;
        self.shelf().begun.insert(*offer, Vec::new());
        Ok(())
    }

    fn extend(&mut self, offer: &Digest, plain: &[u8]) -> Result<(), StoreError> {
        self.alive()?;
        self.shelf().begun.entry(*offer).or_default().extend_from_slice(plain);
        Ok(())
    }

    fn finish(&mut self, offer: &Digest, title: &str) -> Result<String, StoreError> {
        let place = format!("{offer}/{title}");
        self.faults.around(|| {
            let mut shelf = self.shelf();
            let plain = shelf.begun.remove(offer).unwrap_or_default();
            shelf.finished.insert(place.clone(), plain);
        })?;
        Ok(place)
    }

    fn abandon(&mut self, offer: &Digest) -> Result<(), StoreError> {
        self.alive()?;
        self.shelf().begun.remove(offer);
        Ok(())
    }
}
