//! Atomic words of 64 bits on every machine.
//!
//! Most processors have them; those of many routers (MIPS and PowerPC of 32 bits, old Arm) do not. There a crate guards
//! them with locks, which are held no longer than it takes to read or write one. Signal handlers must not touch them.

#[cfg(not(target_has_atomic = "64"))]
pub(crate) use portable_atomic::AtomicU64;
#[cfg(target_has_atomic = "64")]
pub(crate) use std::sync::atomic::AtomicU64;
