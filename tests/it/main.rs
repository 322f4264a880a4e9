//! One test binary for everything that needs real sockets, databases or components.

mod deliver;
