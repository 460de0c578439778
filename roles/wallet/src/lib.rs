//! The wallet: tokens, purchases under way, and what was bought.
