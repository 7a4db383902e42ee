//! Clients that are written from the BEPs and know nothing of the tracker's own code.

pub(crate) mod bencode;
pub(crate) mod cluster;
pub(crate) mod http;
pub(crate) mod openmetrics;
pub(crate) mod udp;
