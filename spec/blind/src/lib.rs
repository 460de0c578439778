//! RFC 9474 blind RSA, Privacy Pass tokens (RFC 9578) and brands.
