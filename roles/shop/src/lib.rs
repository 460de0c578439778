//! The shop: sells the files of a folder.
