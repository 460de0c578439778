//! The transaction log: decides exactly one of commit and abort, durably, in public.
