//! BEP 15, and what this tracker adds to it.

mod exchange;
mod hostile;
mod peers;
mod room;
mod sockets;
