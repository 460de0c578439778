//! Refunds that the shop's keeper has granted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use naulon_durable::StoreError;
use naulon_money::Amount;

use crate::store::SaleId;

/// What the keeper has granted, in order. A grant that was told to a buyer and is missing later costs the buyer a refund; one
/// that was never made costs the shop its amount. The order of a sale's grants must never change.
pub trait Grants: Send {
    /// The refunds of a sale, in the order in which they were granted.
    fn granted(&self, sale: &SaleId) -> Result<Vec<Amount>, StoreError>;
}

/// Grants in memory. Clones share them. Without any it is a shop that gives no refunds.
#[derive(Clone, Default)]
pub struct MemoryGrants(Arc<Mutex<BTreeMap<SaleId, Vec<Amount>>>>);

impl MemoryGrants {
    /// Grants a refund.
    pub fn grant(&self, sale: SaleId, amount: Amount) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(sale).or_default().push(amount);
    }
}

impl Grants for MemoryGrants {
    fn granted(&self, sale: &SaleId) -> Result<Vec<Amount>, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(sale).cloned().unwrap_or_default())
    }
}

/// Grants in a folder: one file a sale, one amount a line. The keeper's command writes it while the shop runs.
#[derive(Clone, Debug)]
pub struct FolderGrants(PathBuf);

impl FolderGrants {
    /// The grants in this folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        FolderGrants(folder.to_owned())
    }

    /// Grants a refund. Durable when it returns. Two commands at once follow one another.
    pub fn grant(&self, sale: &SaleId, amount: Amount) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        let lock = std::fs::File::create(self.0.join(".lock"))?;
        lock.lock()?;
        let mut grants = self.granted(sale).map_err(|error| std::io::Error::other(error.to_string()))?;
        grants.push(amount);
        let text: String = grants.iter().map(|amount| format!("{amount}\n")).collect();
        let (place, new) = (self.0.join(sale.to_string()), self.0.join(format!(".{sale}.new")));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &place)?;
        std::fs::File::open(&self.0)?.sync_all()
    }
}

impl Grants for FolderGrants {
    fn granted(&self, sale: &SaleId) -> Result<Vec<Amount>, StoreError> {
        match std::fs::read_to_string(self.0.join(sale.to_string())) {
            Ok(text) => text.lines().map(|line| line.parse().map_err(|_| StoreError::Corrupt)).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(StoreError::Other(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use naulon_statement::Digest;

    use super::*;

    #[test]
    fn grants_stay_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let grants = FolderGrants::new(&folder.path().join("refunds"));
        let (sale, other) = (Digest([1; 32]), Digest([2; 32]));
        assert_eq!(grants.granted(&sale), Ok(Vec::new()));
        let amounts: Vec<Amount> = ["1.20", "0.30", "1.20"].map(|text| text.parse().expect("an amount")).to_vec();
        for amount in &amounts {
            grants.grant(&sale, *amount).expect("written");
        }
        assert_eq!(grants.granted(&sale), Ok(amounts));
        assert_eq!(grants.granted(&other), Ok(Vec::new()));
    }
}
