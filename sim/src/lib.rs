//! The whole world in one process on simulated time.
