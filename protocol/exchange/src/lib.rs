//! A bank turns instruments into instruments: the request, the instruments, the one decide function.
