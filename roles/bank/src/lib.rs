//! The bank: a synchronous service over its store, and its HTTP front.
