//! JSON bodies, paths, stable error codes, typed clients and the HTTP front.
