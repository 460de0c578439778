//! Merkle log, checkpoints, inclusion and consistency proofs (C2SP tlog-tiles).
