//! Clients that are written from the BEPs, without the tracker's own code.

pub(crate) mod bencode;
pub(crate) mod cluster;
pub(crate) mod coding;
pub(crate) mod control;
pub(crate) mod handover;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod nats;
pub(crate) mod prometheus;
pub(crate) mod udp;
